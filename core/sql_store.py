"""The SQL store: one engine, and units of work over it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from core.audit.sql import SqlAuditLog
from core.errors import DatabaseUnavailable, NotReady
from core.mail.sql import SqlOneTimeTokens, SqlOutbox
from core.oauth.sql import SqlClients
from core.sessions.sql import SqlSessions
from core.settings.groups import DatabaseSettings
from core.storage import schema
from core.storage.deadlines import CircuitBreaker, connected_before
from core.storage.engine import database_errors, is_away, limit, open_engine, reading, sqlstate_of, timeout_of
from core.storage.schema import HEAD_REVISION
from core.store import Port
from core.throttling.sql import SqlCounters
from core.tokens.sql import SqlKeys, SqlRevocations
from core.users.sql import SqlUsers

metadata = schema.metadata
"""Every table: the modules above have added theirs."""

P = TypeVar("P")
Ports = Mapping[Port[Any], Callable[[Connection], Any]]
"""How a port of a capability outside the core is made from a connection."""

UNDEFINED_TABLE = "42P01"  # SQLSTATE


class SqlUnitOfWork:
    """The ports on one connection."""

    def __init__(self, connection: Connection, further: Ports, wake: Callable[[], None]) -> None:
        self._connection = connection
        self._further = further
        self._wake = wake
        self.users = SqlUsers(connection)
        self.sessions = SqlSessions(connection)
        self.keys = SqlKeys(connection)
        self.clients = SqlClients(connection)
        self.revocations = SqlRevocations(connection)
        self.outbox = SqlOutbox(connection)
        self.one_time_tokens = SqlOneTimeTokens(connection)
        self.counters = SqlCounters(connection)
        self.audit = SqlAuditLog(connection)

    def port(self, key: Port[P]) -> P:
        """The port of a capability outside the core."""
        made: P = self._further[key](self._connection)
        return made

    def commit(self) -> None:
        """Make everything so far durable, and then wake whoever sends mail where a message was stored."""
        with database_errors(committing=True):
            try:
                self._connection.commit()
            except BaseException:
                self._undo()
                raise
        if self.outbox.has_added:
            self._wake()

    def _undo(self) -> None:
        """Leave no transaction open. SQLAlchemy takes it for ended, and would give a connection back that holds it."""
        if self._connection.invalidated:
            return
        if self._connection.dialect.name == "sqlite":
            # On a full disk a connection that is closed may be the last one that reads: a new one needs a new file.
            with suppress(sqlite3.Error):
                self._connection.connection.rollback()
                return
        self._connection.invalidate()


class SqlStore:
    """The `Store` on PostgreSQL or SQLite."""

    def __init__(self, engine: Engine, further: Ports | None = None) -> None:
        self.engine = engine
        self._further = further or {}
        self._wake: Callable[[], None] = _wake_nobody
        self._reading = reading(engine)
        self._writers = threading.Lock()
        self._timeout = timeout_of(engine)
        self._breaker = CircuitBreaker(self._timeout)

    @contextmanager
    def begin(self) -> Iterator[SqlUnitOfWork]:
        """Open a transaction; leaving it without `commit` rolls it back."""
        deadline = self._deadline()  # of the wait for the turn as well
        with database_errors(), self._turn(deadline), self._connected(self.engine, deadline) as connection:
            connection.begin()
            yield SqlUnitOfWork(connection, self._further, self._wake)

    @contextmanager
    def reading(self) -> Iterator[SqlUnitOfWork]:
        """Open for single reads, each its own statement."""
        with database_errors(), self._connected(self._reading, self._deadline()) as connection:
            yield SqlUnitOfWork(connection, self._further, self._wake)

    def _deadline(self) -> float:
        """When a unit of work that begins now has to end, by the monotonic clock."""
        return time.monotonic() + self._timeout

    @contextmanager
    def _connected(self, engine: Engine, deadline: float) -> Iterator[Connection]:
        """A connection for one unit of work, all of which ends in time."""
        self._breaker.check()
        try:
            with connected_before(deadline, engine.connect) as connection:
                limit(connection, deadline)
                self._breaker.reset()
                yield connection
        except (DBAPIError, DatabaseUnavailable) as error:
            if is_away(error if isinstance(error, DBAPIError) else error.__cause__):
                self._breaker.trip()
            raise

    @contextmanager
    def _turn(self, deadline: float) -> Iterator[None]:
        """Wait for the writers before this one, on SQLite.

        It has one writer at a time and lets the others try again at random, so that one of many may wait in vain.
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
        """Have ``wake`` called after each commit that stored a message."""
        self._wake = wake

    def check(self) -> None:
        """Ask whether the database answers and has the schema of this version, or a newer one.

        Schemas only grow from one release to the next (decision 12), so what a newer one has besides is not in the way.
        """
        with database_errors(), self._connected(self._reading, self._deadline()) as connection:
            try:
                revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
            except DBAPIError as error:
                if sqlstate_of(error) == UNDEFINED_TABLE or "no such table" in str(error.orig):
                    raise NotReady from error
                raise
        if revision is None or revision < HEAD_REVISION:
            raise NotReady

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_store(url: str, settings: DatabaseSettings, further: Ports | None = None) -> SqlStore:
    """Open a database, with the ports of further capabilities; nothing is connected before the first use."""
    return SqlStore(open_engine(url, settings), further)


def _wake_nobody() -> None:
    """Wait for whoever sends mail to look by itself."""
