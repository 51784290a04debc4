"""Connections to an SQLite file."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event

from core.settings.groups import DatabaseSettings
from core.storage.deadlines import time_left

AUTOCOMMIT = "twinauth_autocommit"
"""Option of an engine: no transaction is begun."""
LOCK_POLL = 0.01  # seconds
LOG_WAIT = 50  # milliseconds


def open_sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    """Make the engine of an SQLite file."""
    seconds = settings.timeout.total_seconds()
    engine = create_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=seconds,
        connect_args={"timeout": seconds},
        hide_parameters=True,
    )
    _begin_immediately(engine)
    _prepare_connections(engine, seconds)
    return engine


def _prepare_connections(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "do_connect")
    def open_existing(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> sqlite3.Connection:
        # A command in the wrong folder must not make an empty database there.
        opened: sqlite3.Connection = sqlite3.connect(f"file:{quote(arguments[0])}?mode=rw", uri=True, **parameters)
        return opened

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver sends BEGIN late and never before a SELECT, so `_begin_immediately` sends it.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(
            "PRAGMA secure_delete=ON"
        )  # zeros in the place of deleted rows; few builds have it by default
        _use_wal(connection, seconds)

    @event.listens_for(engine, "checkout")
    def set_timeout(connection: sqlite3.Connection, _record: Any, _proxy: Any) -> None:
        # A writer may have waited for its turn, so it waits for the lock only in the time left.
        connection.execute(f"PRAGMA busy_timeout={round(time_left(seconds) * 1000)}")


def _begin_immediately(engine: Engine) -> None:
    """Take the write lock at the start of a transaction.

    Otherwise a transaction that reads first and writes later would fail with "database is locked" in the middle,
    without waiting for its turn.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(AUTOCOMMIT):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def has_file(engine: Engine) -> bool:
    """Whether the file of a database is there."""
    return Path(engine.url.database or "").is_file()


def make_file(engine: Engine) -> None:
    """Make the file of a new database, which only its owner may read: it contains hashes and keys."""
    path = Path(engine.url.database or "")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def truncate_log(connection: Connection) -> None:
    """Empty the write-ahead log, in which every page stays as it was before a deletion until others take its place.

    Writers wait meanwhile, so a reader that is in the way is not waited for: the next time will do.
    """
    connection.exec_driver_sql(f"PRAGMA busy_timeout={LOG_WAIT}")  # until the next checkout
    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _use_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch a new file to WAL, with a loop: for this statement SQLite does not wait for a lock."""
    deadline = time.monotonic() + seconds
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL)
