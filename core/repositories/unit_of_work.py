"""The SQL store: one engine, and units of work over it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from core.errors import NotReady
from core.repositories.audit import SqlAuditLog
from core.repositories.clients import SqlClients
from core.repositories.engine import open_engine, reading, translated
from core.repositories.keys import SqlKeys
from core.repositories.revocations import SqlRevocations
from core.repositories.sessions import SqlSessions
from core.repositories.tables import HEAD_REVISION
from core.repositories.users import SqlUsers
from core.settings import DatabaseSettings


class SqlUnitOfWork:
    """The ports on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.users = SqlUsers(connection)
        self.sessions = SqlSessions(connection)
        self.keys = SqlKeys(connection)
        self.clients = SqlClients(connection)
        self.revocations = SqlRevocations(connection)
        self.audit = SqlAuditLog(connection)

    def commit(self) -> None:
        """Make everything so far durable."""
        with translated(committing=True):
            try:
                self._connection.commit()
            except BaseException:
                # SQLAlchemy takes the transaction for ended, and would give a connection back that still holds it.
                if not self._connection.invalidated:
                    self._connection.invalidate()
                raise


class SqlStore:
    """The `Store` on PostgreSQL or SQLite."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = reading(engine)

    @contextmanager
    def begin(self) -> Iterator[SqlUnitOfWork]:
        """Open a transaction; leaving it without `commit` rolls it back."""
        with translated(), self.engine.connect() as connection:
            connection.begin()
            yield SqlUnitOfWork(connection)

    @contextmanager
    def reading(self) -> Iterator[SqlUnitOfWork]:
        """Open for single reads, each its own statement."""
        with translated(), self._reading.connect() as connection:
            yield SqlUnitOfWork(connection)

    def check(self) -> None:
        """Ask whether the database answers and has the schema of this version."""
        with translated(), self._reading.connect() as connection:
            try:
                revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                raise NotReady from error  # there is no such table yet
        if revision != HEAD_REVISION:
            raise NotReady

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_store(url: str, settings: DatabaseSettings) -> SqlStore:
    """Open the database at ``url``; nothing is connected before the first use."""
    return SqlStore(open_engine(url, settings))
