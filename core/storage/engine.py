"""Connections: opening each database, and translating its errors."""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import DatabaseUnavailable, TransactionConflict
from core.settings.groups import DatabaseSettings
from core.storage.deadlines import DeadlineConnection, NoAnswerError, require_time_to_connect, time_left

# Rolled back by the server in favour of another transaction: serialization_failure, deadlock_detected.
CONFLICT_STATES = frozenset({"40001", "40P01"})
# protocol_violation: a pooler reports it when it has lost its server. The outcome of a commit is unknown then.
LOST_STATES = frozenset({"08P01"})

Refusals = Mapping[str, type[Exception]]
"""The error for each unique constraint, by its name; it stands beside the table."""

_AUTOCOMMIT = "twinauth_autocommit"
LOCK_POLL = 0.01  # seconds


def open_engine(url: str, settings: DatabaseSettings) -> Engine:
    """Make the engine of a PostgreSQL or SQLite database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, settings)
    return _postgresql(parsed, settings)


def reading(engine: Engine) -> Engine:
    """Return the engine for single reads, on the same pool, without BEGIN and ROLLBACK: two round trips less."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_AUTOCOMMIT: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def limit(connection: Connection, deadline: float) -> None:
    """Let no wait on a connection go beyond a time of the monotonic clock."""
    driver = connection.connection.driver_connection
    if isinstance(driver, DeadlineConnection):
        driver.deadline = deadline


def timeout_of(engine: Engine) -> float:
    """Return the seconds that a unit of work may take, from the engine's settings."""
    pool: Any = engine.pool
    return float(pool.timeout())


@contextmanager
def database_errors(refusals: Refusals = MappingProxyType({}), *, committing: bool = False) -> Iterator[None]:
    """Translate the driver's errors into those of the core.

    If a connection is lost before the commit was sent, nothing has changed and the work may run again. If it is lost
    during the commit, the outcome is unknown and the work must not run again.

    Raises:
        TransactionConflict: the transaction was rolled back and may run again.
        DatabaseUnavailable: the database is away, full, locked or stuck.
        Exception: the one in ``refusals`` for the violated constraint.

    """
    try:
        yield
    except IntegrityError as error:
        refusal = refusals.get(_constraint_name(error) or "")
        if refusal is None:
            raise
        raise refusal from None
    except PoolTimeoutError as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if sqlstate_of(error) in CONFLICT_STATES:
            raise TransactionConflict from error
        is_lost = error.connection_invalidated or sqlstate_of(error) in LOST_STATES
        if is_lost and not committing and not isinstance(error.orig, NoAnswerError):
            raise TransactionConflict from error
        if isinstance(error, OperationalError | InterfaceError | InternalError):
            raise DatabaseUnavailable from error
        raise


def is_away(error: BaseException | None) -> bool:
    """Whether a server cannot be reached or does not answer; a server that refuses or is busy is not away."""
    if not isinstance(error, DBAPIError):
        return False
    # psycopg gives no SQLSTATE for errors while connecting. If the server itself refuses, the text contains FATAL.
    has_no_state = isinstance(error.orig, psycopg.OperationalError) and sqlstate_of(error) is None
    is_unreachable = has_no_state and "FATAL:" not in str(error.orig)
    return isinstance(error.orig, NoAnswerError) or (is_unreachable and not error.connection_invalidated)


def sqlstate_of(error: Exception) -> str | None:
    """Return the SQLSTATE of an error of PostgreSQL's driver."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _constraint_name(error: IntegrityError) -> str | None:
    if isinstance(error.orig, sqlite3.IntegrityError):
        # SQLite names the columns; our constraint names are made of them (`core.storage.schema`).
        columns = str(error.orig).removeprefix("UNIQUE constraint failed: ").split(", ")
        return "_".join(("uq", columns[0].partition(".")[0], *(column.partition(".")[2] for column in columns)))
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None)


def _postgresql(url: URL, settings: DatabaseSettings) -> Engine:
    seconds = settings.timeout.total_seconds()
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=seconds,
        connect_args={
            # libpq counts in whole seconds and takes 1 for 2.
            "connect_timeout": max(2, round(seconds)),
            **({"prepare_threshold": None} if settings.pooler else {"options": _options(url, seconds)}),
        },
        hide_parameters=True,
    )
    if settings.pooler:
        _limit_each_transaction(engine, seconds)
    _limit_waits(engine, seconds)
    return engine


def _limit_waits(engine: Engine, seconds: float) -> None:
    """Use connections with a deadline, which each unit of work sets anew."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> DeadlineConnection:
        require_time_to_connect(seconds)
        connection = DeadlineConnection.connect(*arguments, **parameters)
        connection.timeout = seconds
        connection.add_notice_handler(connection.on_notice)
        return connection

    @event.listens_for(engine, "checkin")
    def forget_deadline(connection: DeadlineConnection | None, _record: Any) -> None:
        if connection is not None:  # None if it was invalidated
            connection.deadline = None


def _options(url: URL, seconds: float) -> str:
    """Let the server end waits for a lock and statements that take too long."""
    given = url.query.get("options", "")
    limits = f"-c lock_timeout={_server_limit(seconds)} -c statement_timeout={_server_limit(seconds)}"
    return " ".join((limits, given if isinstance(given, str) else " ".join(given))).strip()


def _limit_each_transaction(engine: Engine, seconds: float) -> None:
    """Set the same limits behind a pooler, which gives the connection to another client after the transaction.

    Options at its start are refused (PgBouncer refuses ``options``), session state would leak to the next client, and
    prepared statements belong to one server connection only.
    """
    milliseconds = _server_limit(seconds)
    limits = f"SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {milliseconds}"

    @event.listens_for(engine, "begin")
    def set_limits(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(limits)


def _server_limit(seconds: float) -> int:
    """Return milliseconds a little below the client's own timeout, because the server's error is more precise."""
    return round(seconds * 900)


def _sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    seconds = settings.timeout.total_seconds()
    if url.database:
        _make_file(Path(url.database))
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
    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver sends BEGIN late and never before a SELECT, so `_begin_immediately` sends it.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
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
        if not connection.get_execution_options().get(_AUTOCOMMIT):
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _make_file(path: Path) -> None:
    """Make a new database file that only its owner may read: it contains hashes and keys."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


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
