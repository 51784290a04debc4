"""Migrated databases for tests, one a worker, emptied between tests."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text

from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore, metadata, open_store
from migrations.runner import upgrade

_IN_MEMORY = Path("/dev/shm")
_ROOM = 32 * 1024 * 1024  # bytes; the databases of a run take a few megabytes


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder in memory, if the machine has room: SQLite syncs each commit, for 2.4 ms on a disk and 0.01 ms there."""
    has_room = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free > _ROOM
    with tempfile.TemporaryDirectory(prefix="twinauth-", dir=_IN_MEMORY if has_room else None) as name:
        yield Path(name)


@contextmanager
def sqlite_url(folder: Path) -> Iterator[str]:
    """An empty SQLite file."""
    yield f"sqlite:///{folder / f'{secrets.token_hex(4)}.db'}"


@contextmanager
def postgres_url(server: str, options: str = "") -> Iterator[str]:
    """An empty PostgreSQL database, made with these options."""
    name = f"test_{secrets.token_hex(6)}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} {options}"))
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


def migrated_file(folder: Path) -> Path:
    """A SQLite file at the head revision, to be copied: that costs a tenth of migrating another."""
    path = folder / "template.db"
    store = open_store(f"sqlite:///{path}", DatabaseSettings())
    upgrade(store.engine)
    store.close()
    return path


@contextmanager
def copied_store(template: Path, folder: Path) -> Iterator[SqlStore]:
    """A store on a copy of a migrated file; at the end nothing may be checked out any more."""
    path = folder / f"{secrets.token_hex(4)}.db"
    shutil.copyfile(template, path)
    store = open_store(f"sqlite:///{path}", DatabaseSettings())
    try:
        yield store
        assert_nothing_checked_out(store)
    finally:
        store.close()
        path.unlink()


def assert_nothing_checked_out(store: SqlStore) -> None:
    assert store.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a QueuePool, as the engine makes it


def empty(store: SqlStore, *, keys: bool = False) -> None:
    """Delete every row except those of the schema, and the signing keys, which services have read."""
    kept = ("revocation_feed",) if keys else ("revocation_feed", "signing_keys")
    emptied = [table.name for table in reversed(metadata.sorted_tables) if table.name not in kept]
    statements = [*(f"DELETE FROM {name}" for name in emptied), "UPDATE revocation_feed SET head = 0"]
    with store.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            statements = ["; ".join(statements)]  # one round trip
        for statement in statements:
            connection.exec_driver_sql(statement)
