"""The SQL store: one engine, and units of work over it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from core.accounts.sql import SqlUnverifiedAccounts
from core.audit.sql import SqlAuditLog
from core.errors import DatabaseUnavailable, NotReady
from core.mail.sql import SqlOneTimeTokens, SqlOutbox
from core.oauth.sql import SqlClients
from core.sessions.sql import SqlSessions
from core.settings.groups import DatabaseSettings
from core.storage import schema
from core.storage.deadlines import CircuitBreaker, connected_before
from core.storage.engine import database_errors, is_away, limit, open_engine, reading, sqlstate_of, timeout_of
from core.storage.reasons import reason_of
from core.storage.sqlite import has_file
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


class SqlUnitOfWork:
    """The ports on one connection."""

    def __init__(self, connection: Connection, further: Ports, wake: Callable[[], None]) -> None:
        self._connection = connection
        self._further = further
        self._wake = wake
        self.users = SqlUsers(connection)
        self.unverified_accounts = SqlUnverifiedAccounts(connection)
        self.sessions = SqlSessions(connection)
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
            self._wake()

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
        self._wake: Callable[[], None] = _do_nothing
        self._reading = reading(engine)
        self._writers = threading.Lock()
        self._timeout = timeout_of(engine)
        self._breaker = CircuitBreaker(self._timeout)

    @contextmanager
    def begin(self) -> Iterator[SqlUnitOfWork]:
        deadline = self._deadline()  # includes the wait for the writers' turn
        with database_errors(), self._turn(deadline), self._connected(self.engine, deadline) as connection:
            connection.begin()
            yield SqlUnitOfWork(connection, self._further, self._wake)

    @contextmanager
    def reading(self) -> Iterator[SqlUnitOfWork]:
        with database_errors(), self._connected(self._reading, self._deadline()) as connection:
            yield SqlUnitOfWork(connection, self._further, self._wake)

    def _deadline(self) -> float:
        """Return the time by which a unit of work that begins now has to end, by the monotonic clock."""
        return time.monotonic() + self._timeout

    @contextmanager
    def _connected(self, engine: Engine, deadline: float) -> Iterator[Connection]:
        """Open a connection for one unit of work, which ends by the deadline."""
        self._breaker.check()
        try:
            with connected_before(deadline, engine.connect) as connection:
                limit(connection, deadline)
                self._breaker.reset()
                yield connection
        except (DBAPIError, DatabaseUnavailable) as error:
            if is_away(error if isinstance(error, DBAPIError) else error.__cause__):
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
        self._wake = wake

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

    def close(self) -> None:
        self.engine.dispose()


def open_store(url: str, settings: DatabaseSettings, further: Ports | None = None) -> SqlStore:
    """Open a database, with the ports of further capabilities; the first use connects."""
    return SqlStore(open_engine(url, settings), further)


def _do_nothing() -> None:
    """Wake nothing: this process has no mail worker, and another one polls the outbox."""
