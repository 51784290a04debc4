"""The migrations make exactly the schema that the code describes."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from core.settings.groups import DatabaseSettings
from core.sql_store import metadata
from core.storage.engine import open_engine
from core.storage.schema import HEAD_REVISION
from migrations.runner import config, downgrade, upgrade
from tests.support.schema import described


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def test_there_is_one_head_and_the_code_names_it() -> None:
    assert _script().get_heads() == [HEAD_REVISION]


def test_the_head_migration_leaves_no_drift(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_head_migration_makes_what_the_metadata_makes_down_to_the_names(engine: Engine, url: str) -> None:
    """What the comparison above does not look at: names, orders of columns, rules of foreign keys."""
    upgrade(engine)
    migrated = described(engine)
    downgrade(engine, "base")
    created = open_engine(url, DatabaseSettings())
    try:
        metadata.create_all(created)
        assert migrated == described(created)
    finally:
        created.dispose()
    assert set(migrated) == set(metadata.tables)


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
def test_every_constraint_and_index_of_the_metadata_has_a_name(table: Any) -> None:
    assert [found for found in (*table.constraints, *table.indexes) if not isinstance(found.name, str)] == []


def test_every_constraint_and_index_of_the_database_has_a_name(engine: Engine) -> None:
    upgrade(engine)
    for name, table in described(engine).items():
        # PostgreSQL lists the index behind a unique constraint once more.
        indexes = [found for found in table["indexes"] if "duplicates_constraint" not in found]
        others = (*table["foreign keys"], *table["unique"], *table["checks"])
        names = [found["name"] for found in (table["primary key"], *others, *indexes)]
        assert all(names), name
        assert len(set(names)) == len(names)


def test_names_are_short_enough_for_postgresql_to_keep_them() -> None:
    named: list[Any] = [one for table in metadata.sorted_tables for one in (*table.constraints, *table.indexes)]
    names = [str(one.name) for one in named]
    assert [name for name in names if len(name.encode()) > 63] == []
    assert len(set(names)) == len(names)


def test_every_foreign_key_is_the_beginning_of_an_index() -> None:
    """Deleting a user would otherwise read every session there is."""
    for table in metadata.sorted_tables:
        starts = {next(iter(index.columns)).name for index in table.indexes}
        starts.add(next(iter(table.primary_key)).name)
        assert {key.parent.name for key in table.foreign_keys} <= starts
