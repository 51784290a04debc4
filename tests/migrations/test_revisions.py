"""Up, down and up again, with data in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect, select, text

from core.sql_store import SqlStore, metadata
from core.storage.schema import HEAD_REVISION
from migrations.runner import config, downgrade, upgrade
from tests.support.migration_rows import ANN, AT_HEAD, LAPTOP, ROWS, Row, insert_rows
from tests.support.schema import VERSION_TABLE, described

REVISIONS = [script.revision for script in reversed(list(ScriptDirectory.from_config(config()).walk_revisions()))]


class InjectedError(Exception):
    pass


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return found


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_every_revision_has_rows_that_must_survive() -> None:
    assert list(ROWS) == REVISIONS


def test_up_down_and_up_again_end_where_they_began(engine: Engine) -> None:
    upgrade(engine)
    first = described(engine)
    downgrade(engine, "base")
    assert _tables(engine) == {VERSION_TABLE}
    assert _revision(engine) is None
    upgrade(engine)
    assert described(engine) == first
    assert _revision(engine) == HEAD_REVISION


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_revision_goes_down_and_up_with_rows_in_its_tables(engine: Engine, revision: str) -> None:
    upgrade(engine, revision)
    before = described(engine)
    insert_rows(engine, revision)
    downgrade(engine, "-1")
    upgrade(engine, revision)
    assert described(engine) == before


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_an_older_revision_survive_the_way_up(engine: Engine, revision: str) -> None:
    upgrade(engine, revision)
    insert_rows(engine, revision)
    upgrade(engine)
    assert _revision(engine) == HEAD_REVISION
    for name, rows in (ROWS[revision] | AT_HEAD.get(revision, {})).items():
        assert _found(engine, name, rows) == [dict(row) for row in rows]


def _found(engine: Engine, name: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as the code reads them today, with the columns that are expected, in the order of the expected."""
    table = metadata.tables[name]
    (key,) = table.primary_key
    order = [row[key.name] for row in rows]
    with engine.connect() as connection:
        found = connection.execute(select(*(table.c[column] for column in rows[0]))).mappings().all()
    return sorted((dict(row) for row in found), key=lambda row: order.index(row[key.name]))


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_service_reads_rows_of_an_older_revision(engine: Engine, revision: str) -> None:
    upgrade(engine, revision)
    insert_rows(engine, revision)
    upgrade(engine)
    store = SqlStore(engine)
    store.check()
    with store.reading() as read:
        found = read.sessions.with_user(LAPTOP)
        assert found is not None
        assert (found[0].user_id, found[1].id, found[1].roles) == (ANN, ANN, ("admin", "späher"))
        assert len(read.keys.all()) == 1
        stored = ROWS[revision].get("outbox", ())
        assert [found.id for found in read.outbox.of(ANN)] == [row["id"] for row in stored if row["user_id"] == ANN]
        assert [found.id for found in read.outbox.failed()] == [row["id"] for row in stored if row["dead_at"]]
        assert len(read.one_time_tokens.of(ANN)) == len(ROWS[revision].get("email_tokens", ()))


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_process_of_an_older_version_writes_and_reads_on(engine: Engine, revision: str) -> None:
    """While a deployment rolls, it does so with the schema of the newest one (decision 12)."""
    upgrade(engine, revision)
    known = _columns(engine)
    upgrade(engine)
    now = _columns(engine)
    assert all(columns <= now.get(table, set()) for table, columns in known.items())
    insert_rows(engine, revision)


def _columns(engine: Engine) -> dict[str, set[str]]:
    found = inspect(engine)
    return {table: {column["name"] for column in found.get_columns(table)} for table in found.get_table_names()}


def test_migrating_a_database_at_the_head_does_nothing(engine: Engine) -> None:
    upgrade(engine)
    insert_rows(engine, HEAD_REVISION)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    upgrade(engine)
    assert [found for found in statements if found.split()[0] in {"CREATE", "ALTER", "DROP", "INSERT", "UPDATE"}] == []


def test_a_migration_that_fails_at_any_statement_changes_nothing(engine: Engine) -> None:
    """All of it is one transaction, on both databases."""
    failures, failed = 0, True
    while failed:
        failed = _fails_at(engine, failures + 1)
        if failed:
            failures += 1
            assert _tables(engine) == set()
    assert failures > len(metadata.tables)
    assert _tables(engine) == {*metadata.tables, VERSION_TABLE}


def _fails_at(engine: Engine, turn: int) -> bool:
    seen: list[str] = []

    def spoil(_connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)
        if len(seen) == turn:
            raise InjectedError

    event.listen(engine, "before_cursor_execute", spoil)
    try:
        upgrade(engine)
    except InjectedError:
        return True
    finally:
        event.remove(engine, "before_cursor_execute", spoil)
    return False
