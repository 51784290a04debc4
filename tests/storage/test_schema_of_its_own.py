"""`AUTH_DATABASE_SCHEMA`: the tables stand beside those of another application, which has the same names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from core.errors import NotReady
from core.sql_store import SqlStore
from core.storage.reasons import reason_of
from migrations.runner import downgrade, upgrade
from tests.support.database_faults import opened
from tests.support.databases import postgres_url
from tests.support.pooler import pooling
from tests.support.values import account, account_in, stored

SCHEMA = "own"
THEIRS = "ae1027a6acf"


@pytest.fixture
def shared(postgres: str) -> Iterator[str]:
    """A database in which another application has tables, with Alembic as well."""
    with postgres_url(postgres) as url:
        with opened(url) as other, other.engine.begin() as connection:
            connection.execute(text("CREATE TABLE users (id int)"))
            connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:theirs)"), {"theirs": THEIRS})
        yield url


def tables_of(connection: Connection, schema: str) -> set[str]:
    found = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": schema})
    return {str(name) for (name,) in found}


def require_service(store: SqlStore) -> None:
    with pytest.raises(NotReady):
        store.check()
    for _ in range(2):
        upgrade(store.engine)
    store.check()
    ann = account()
    stored(store, ann)
    assert account_in(store, ann.user.id) == ann


def test_it_is_made_and_holds_every_table(shared: str) -> None:
    with opened(shared, namespace=SCHEMA) as store:
        require_service(store)
        with store.engine.connect() as connection:
            assert {"users", "sessions", "signing_keys", "alembic_version"} <= tables_of(connection, SCHEMA)
            assert tables_of(connection, "public") == {"users", "alembic_version"}
            assert connection.scalar(text("SELECT version_num FROM public.alembic_version")) == THEIRS
            assert connection.scalar(text("SELECT count(*) FROM public.users")) == 0


def test_it_works_behind_a_pooler_which_takes_no_options(shared: str) -> None:
    with pooling(shared) as pooled, opened(pooled, namespace=SCHEMA, pooler=True) as store:
        require_service(store)
        with opened(pooled, pooler=True) as other, pytest.raises(NotReady):
            other.check()  # nothing of it is left on the connections that the pooler lends


def test_it_is_left_alone_on_the_way_down(shared: str) -> None:
    with opened(shared, namespace=SCHEMA) as store:
        upgrade(store.engine)
        downgrade(store.engine, "base")
        with store.engine.connect() as connection:
            assert tables_of(connection, SCHEMA) == {"alembic_version"}
            assert tables_of(connection, "public") == {"users", "alembic_version"}


def test_it_may_have_been_made_for_a_role_that_may_not(shared: str) -> None:
    with opened(shared) as owner, owner.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE guest_{SCHEMA} LOGIN PASSWORD 'guest'"))
        connection.execute(text(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION guest_{SCHEMA}"))
        guest = owner.engine.url.set(username=f"guest_{SCHEMA}", password="guest")
    try:
        with opened(guest.render_as_string(hide_password=False), namespace=SCHEMA) as store:
            require_service(store)
        with (
            opened(guest.render_as_string(hide_password=False), namespace="other") as store,
            pytest.raises(ProgrammingError) as refused,
        ):
            upgrade(store.engine)
        assert reason_of(refused.value).startswith("permission denied for database")
    finally:
        with opened(shared) as owner, owner.engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY guest_{SCHEMA}"))
            connection.execute(text(f"DROP ROLE guest_{SCHEMA}"))


def test_without_it_anothers_tables_are_not_taken_for_ones_own(shared: str) -> None:
    with opened(shared) as store:
        with pytest.raises(NotReady) as refused:
            store.check()
        assert "another application's" in reason_of(refused.value)


def test_without_it_a_table_in_the_way_is_named(postgres: str) -> None:
    with postgres_url(postgres) as url, opened(url) as store:
        with store.engine.begin() as connection:
            connection.execute(text("CREATE TABLE users (id int)"))
        with pytest.raises(ProgrammingError) as refused:
            upgrade(store.engine)
        assert reason_of(refused.value).startswith('relation "users" already exists; another application')
