"""The SQL store: one engine, and units of work over it."""

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from core.accounts.sql import SqlUnverifiedAccounts
from core.audit.sql import SqlAuditLog
from core.devices.sql import SqlDevices
from core.errors import DatabaseUnavailable, NotReady
from core.mail.sql import SqlOneTimeTokens, SqlOutbox
from core.oauth.sql import SqlClients
from core.sessions.sql import SqlSessions
from core.settings.groups import DatabaseSettings
from core.storage import schema
from core.storage.deadlines import CircuitBreaker, connected_before
from core.storage.engine import (
    database_errors,
    is_away,
    is_silence,
    limit,
    open_engine,
    reading,
    sqlstate_of,
    timeout_of,
)
from core.storage.places import AccountPlaces
from core.storage.probe import probe_of
from core.storage.reasons import reason_of
from core.storage.sqlite import has_file, truncate_log
from core.store import Port
from core.throttling.sql import SqlCounters
from core.tokens.sql import SqlKeys, SqlRevocations
from core.users.sql import SqlUsers

metadata = schema.metadata
"""Every table: the imported modules have added theirs."""

P = TypeVar("P")
Ports = Mapping[Port[Any], Callable[[Connection], Any]]
"""Makers of the ports of further capabilities, each from a connection."""

UNDEFINED_TABLE = "42P01"  # SQLSTATE


def _do_nothing() -> None:
    """Wake nothing: this process has no such worker, and another one finds what there is to do."""


@dataclass(slots=True)
class Wakes:
    """The workers that a commit may wake."""

    mail_worker: Callable[[], None] = _do_nothing
    housekeeping: Callable[[], None] = _do_nothing


class SqlUnitOfWork:
    """The ports on one connection."""

    def __init__(self, connection: Connection, further: Ports, wakes: Wakes) -> None:
        self._connection = connection
        self._further = further
        self._wakes = wakes
        self.users = SqlUsers(connection)
        self.unverified_accounts = SqlUnverifiedAccounts(connection)
        self.sessions = SqlSessions(connection)
        self.devices = SqlDevices(connection)
        self.keys = SqlKeys(connection)
        self.clients = SqlClients(connection)
        self.revocations = SqlRevocations(connection)
        self.outbox = SqlOutbox(connection)
        self.one_time_tokens = SqlOneTimeTokens(connection)
        self.counters = SqlCounters(connection)
        self.audit = SqlAuditLog(connection)

    def port(self, key: Port[P]) -> P:
        made: P = self._further[key](self._connection)
        return made

    def commit(self) -> None:
        with database_errors(committing=True):
            try:
                self._connection.commit()
            except BaseException:
                self._undo()
                raise
        if self.outbox.has_added:
            self._wakes.mail_worker()
        if self.users.has_deleted or self.sessions.has_marked:
            self._wakes.housekeeping()

    def _undo(self) -> None:
        """Leave no transaction open: SQLAlchemy considers it ended, and would return the connection with it."""
        if self._connection.invalidated:
            return
        if self._connection.dialect.name == "sqlite":
            # On a full disk, do not close the connection: a new one must create a file, and could not even read.
            with suppress(sqlite3.Error):
                self._connection.connection.rollback()
                return
        self._connection.invalidate()


class SqlStore:
    """The `Store` on PostgreSQL or SQLite."""

    def __init__(self, engine: Engine, further: Ports | None = None) -> None:
        self.engine = engine
        self._further = further or {}
        self._wakes = Wakes()
        self._reading = reading(engine)
        self._writers = threading.Lock()
        self._timeout = timeout_of(engine)
        self._places = AccountPlaces(self._timeout)
        self._breaker = CircuitBreaker(self._timeout, probe_of(engine, self._timeout))

    @contextmanager
    def begin(
        self, account: uuid.UUID | None = None, *, turn_within: timedelta | None = None
    ) -> Iterator[SqlUnitOfWork]:
        deadline = self._deadline()  # includes the wait for a place and for the writers' turn
        if turn_within is not None and self.engine.dialect.name == "sqlite":
            deadline = min(deadline, time.monotonic() + turn_within.total_seconds())
        with (
            self._places.take(account),
            database_errors(),
            self._turn(deadline),
            self._connected(self.engine, deadline) as connection,
        ):
            connection.begin()
            yield SqlUnitOfWork(connection, self._further, self._wakes)

    @contextmanager
    def reading(self) -> Iterator[SqlUnitOfWork]:
        with database_errors(), self._connected(self._reading, self._deadline()) as connection:
            yield SqlUnitOfWork(connection, self._further, self._wakes)

    def _deadline(self) -> float:
        """Return the time by which a unit of work that begins now has to end, by the monotonic clock."""
        return time.monotonic() + self._timeout

    @contextmanager
    def _connected(self, engine: Engine, deadline: float) -> Iterator[Connection]:
        """Open a connection for one unit of work, which ends by the deadline."""
        self._breaker.check()
        with self._connect(engine, deadline) as connection:
            limit(connection, deadline)
            try:
                yield connection
            except (DBAPIError, DatabaseUnavailable) as error:
                if is_silence(error) or is_silence(error.__cause__):
                    self._breaker.ask()
                raise

    def _connect(self, engine: Engine, deadline: float) -> Connection:
        try:
            return connected_before(deadline, engine.connect)
        except DBAPIError as error:
            if error.orig is not None and is_away(error.orig):
                self._breaker.trip(reason_of(error))
            raise

    @contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """On SQLite, wait for the earlier writers.

        SQLite has one writer at a time and lets the others retry at random, so that one of many may wait in vain.
        """
        if self.engine.dialect.name != "sqlite":
            yield
            return
        if not self._writers.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise DatabaseUnavailable
        try:
            yield
        finally:
            self._writers.release()

    def on_message(self, wake: Callable[[], None]) -> None:
        self._wakes.mail_worker = wake

    def on_leftovers(self, wake: Callable[[], None]) -> None:
        self._wakes.housekeeping = wake

    def check(self) -> None:
        """Check the schema. A newer one will do: schemas only grow from one release to the next (decision 12)."""
        try:
            schema.require_revision(self._revision())
        except schema.SchemaMismatchError as error:
            raise NotReady from error

    def _revision(self) -> str | None:
        """Read the revision of the schema; None where there is no schema."""
        if self.engine.dialect.name == "sqlite" and not has_file(self.engine):
            return None
        with database_errors(), self._connected(self._reading, self._deadline()) as connection:
            try:
                found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
            except DBAPIError as error:
                if sqlstate_of(error) == UNDEFINED_TABLE or "no such table" in str(error.orig):
                    return None
                raise
        return found

    def erase_deleted(self) -> None:
        if self.engine.dialect.name != "sqlite":  # PostgreSQL vacuums by itself
            return
        deadline = self._deadline()
        with database_errors(), self._turn(deadline), self._connected(self._reading, deadline) as connection:
            truncate_log(connection)

    def close(self) -> None:
        self.engine.dispose()


def open_store(url: str, settings: DatabaseSettings, further: Ports | None = None) -> SqlStore:
    """Open a database, with the ports of further capabilities; the first use connects."""
    return SqlStore(open_engine(url, settings), further)
