"""Connections: how each database is opened, and what its errors mean to the core."""

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

# Undone by the server in favour of another transaction: serialization_failure, deadlock_detected.
CONFLICT_STATES = frozenset({"40001", "40P01"})
# protocol_violation: what a pooler in between says when it has lost its server. Of a commit, nobody knows.
LOST_STATES = frozenset({"08P01"})

Refusals = Mapping[str, type[Exception]]
"""What the refusal of a unique constraint means, by its name; it stands beside the table."""

_AUTOCOMMIT = "twinauth_autocommit"
LOCK_POLL = 0.01  # seconds


def open_engine(url: str, settings: DatabaseSettings) -> Engine:
    """Make the engine of a PostgreSQL or SQLite database."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, settings)
    return _postgresql(parsed, settings)


def reading(engine: Engine) -> Engine:
    """The same pool for single reads: no BEGIN before and no ROLLBACK after, which is two round trips less."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_AUTOCOMMIT: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def limit(connection: Connection, deadline: float) -> None:
    """Let nothing on a connection wait beyond a time of the monotonic clock."""
    driver = connection.connection.driver_connection
    if isinstance(driver, DeadlineConnection):
        driver.deadline = deadline


def timeout_of(engine: Engine) -> float:
    """The seconds that a unit of work may take, as the engine was opened with them."""
    pool: Any = engine.pool
    return float(pool.timeout())


@contextmanager
def database_errors(refusals: Refusals = MappingProxyType({}), *, committing: bool = False) -> Iterator[None]:
    """Turn what a driver raises into what it means.

    A connection that is lost before the commit was sent has changed nothing, so the work may run again; one lost
    during the commit leaves the outcome unknown, so it may not.

    Raises:
        TransactionConflict: the transaction was undone and may be run again.
        DatabaseUnavailable: the database is away, full, locked or stuck.
        Exception: the one in ``refusals``, for the constraint that refused.

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
    """Whether a server cannot be reached, or is silent; not whether it refuses or is busy."""
    if not isinstance(error, DBAPIError):
        return False
    # psycopg tells no state of what fails while connecting. A server that refuses us has spoken, and says FATAL.
    is_silent = isinstance(error.orig, psycopg.OperationalError) and sqlstate_of(error) is None
    is_unreachable = is_silent and "FATAL:" not in str(error.orig)
    return isinstance(error.orig, NoAnswerError) or (is_unreachable and not error.connection_invalidated)


def sqlstate_of(error: Exception) -> str | None:
    """The SQLSTATE of what a PostgreSQL driver raised."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _constraint_name(error: IntegrityError) -> str | None:
    if isinstance(error.orig, sqlite3.IntegrityError):
        # SQLite names the columns; our names are made of them (`core.storage.schema`).
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

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> DeadlineConnection:
        require_time_to_connect(seconds)
        connection = DeadlineConnection.connect(*arguments, **parameters)
        connection.timeout = seconds
        connection.add_notice_handler(connection.on_notice)
        return connection

    @event.listens_for(engine, "checkin")
    def forget_deadline(connection: DeadlineConnection | None, _record: Any) -> None:
        if connection is not None:  # it was given up
            connection.deadline = None

    return engine


def _options(url: URL, seconds: float) -> str:
    """Let the server end what takes too long: a row that somebody holds, a statement without end."""
    given = url.query.get("options", "")
    limits = f"-c lock_timeout={_server_limit(seconds)} -c statement_timeout={_server_limit(seconds)}"
    return " ".join((limits, given if isinstance(given, str) else " ".join(given))).strip()


def _limit_each_transaction(engine: Engine, seconds: float) -> None:
    """The same behind a pooler, where a connection is somebody else's after the transaction.

    Nothing may be said at its start (PgBouncer refuses ``options``) or left behind at its end, and what one server
    connection has prepared, the next one does not know.
    """
    milliseconds = _server_limit(seconds)
    limits = f"SET LOCAL lock_timeout = {milliseconds}; SET LOCAL statement_timeout = {milliseconds}"

    @event.listens_for(engine, "begin")
    def set_limits(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(limits)


def _server_limit(seconds: float) -> int:
    """Milliseconds: a little before the client's own time-out ends, and with a better reason."""
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

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN comes late and never before a SELECT; ours comes from `begin` below.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        _use_wal(connection, seconds)

    @event.listens_for(engine, "checkout")
    def set_timeout(connection: sqlite3.Connection, _record: Any, _proxy: Any) -> None:
        # A writer may have waited for its turn; the lock it waits for in what is left, not in another whole time-out.
        connection.execute(f"PRAGMA busy_timeout={round(time_left(seconds) * 1000)}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once: a transaction that reads first and writes later would otherwise
        # fail with "database is locked" in the middle, without ever waiting for its turn.
        if not connection.get_execution_options().get(_AUTOCOMMIT):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _make_file(path: Path) -> None:
    """Make a new database file that nobody but its owner may read: it holds hashes and keys."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def _use_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch a new file to WAL. SQLite does not wait for a lock here as it does elsewhere, so this does."""
    deadline = time.monotonic() + seconds
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_POLL)
