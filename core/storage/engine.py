"""Connections: opening each database, and translating its errors."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.errors import DatabaseUnavailable, TransactionConflict
from core.settings.groups import DatabaseSettings
from core.storage.deadlines import DeadlineConnection, NoAnswerError, NoTimeError
from core.storage.postgresql import IN_TRANSACTIONS, UnusableDatabaseError, open_postgresql
from core.storage.sqlite import AUTOCOMMIT, open_sqlite
from core.storage.urls import read_url

# Rolled back by the server in favour of another transaction: serialization_failure, deadlock_detected.
CONFLICT_STATES = frozenset({"40001", "40P01"})
# protocol_violation: a pooler reports it when it has lost its server. The outcome of a commit is unknown then.
LOST_STATES = frozenset({"08P01"})

Refusals = Mapping[str, type[Exception]]
"""The error for each unique constraint, by its name; it stands beside the table."""


def open_engine(url: str, settings: DatabaseSettings) -> Engine:
    """Make the engine of a PostgreSQL or SQLite database. Nothing is made on the disk."""
    parsed = read_url(url)
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(parsed, settings)
    return open_postgresql(parsed, settings)


def reading(engine: Engine) -> Engine:
    """Return the engine for single reads, on the same pool, without BEGIN and ROLLBACK: two round trips less."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{AUTOCOMMIT: True})
    if engine.get_execution_options().get(IN_TRANSACTIONS):
        return engine
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


def is_away(error: BaseException) -> bool:
    """Whether an error while connecting says that a server is away; one that refuses or is busy is not."""
    # psycopg gives no SQLSTATE for errors while connecting. If the server itself refuses, the text contains FATAL.
    has_no_state = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return has_no_state and not isinstance(error, NoTimeError) and "FATAL:" not in str(error)


def is_silence(error: BaseException | None) -> bool:
    """Whether a statement had no answer in time: it takes long, or the server is away."""
    return isinstance(getattr(error, "orig", None), NoAnswerError)


def is_unusable(error: DatabaseUnavailable) -> bool:
    """Whether a database will refuse for good, so that waiting for it is in vain."""
    return isinstance(getattr(error.__cause__, "orig", None), UnusableDatabaseError)


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
