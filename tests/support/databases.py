"""Migrated databases for tests, one a worker, emptied between tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from core.settings import DatabaseSettings
from core.sql_store import SqlStore, open_store
from core.storage.schema import metadata
from core.tokens.sql import revocation_feed
from migrations.runner import upgrade


@contextmanager
def sqlite_url(folder: Path) -> Iterator[str]:
    """An empty SQLite file."""
    yield f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"


@contextmanager
def postgres_url(server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"test_{secrets.token_hex(6)}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        admin.dispose()


@contextmanager
def migrated_store(url: str, settings: DatabaseSettings | None = None) -> Iterator[SqlStore]:
    """A store at the head revision; at the end nothing may be checked out any more."""
    store = open_store(url, settings or DatabaseSettings())
    upgrade(store.engine)
    try:
        yield store
        assert_nothing_checked_out(store)
    finally:
        store.close()


def assert_nothing_checked_out(store: SqlStore) -> None:
    assert store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a QueuePool, as the engine makes it


def empty(store: SqlStore) -> None:
    """Delete every row but those of the schema, and the signing keys, which processes have read."""
    with store.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name not in ("signing_keys", "revocation_feed"):
                connection.execute(table.delete())
        connection.execute(revocation_feed.update().values(head=0))
