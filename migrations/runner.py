"""Bring a database to a revision, once, however many processes start at the same moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

# Any number that no other user of the database locks: the bytes of "twin".
_LOCK = 0x7477696E


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for our revisions; nothing is read from a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.set_main_option("path_separator", "os")
    if connection is not None:
        made.attributes["connection"] = connection
    return made


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up. The whole migration is one transaction, and whoever comes second waits and finds it done."""
    with _locked(engine) as connection:
        command.upgrade(config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down."""
    with _locked(engine) as connection:
        command.downgrade(config(connection), revision)


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """One transaction that nobody else migrates beside."""
    if engine.dialect.name == "postgresql":
        # Whoever waited for the lock must see what its holder did, also where the default is serialisable.
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    with engine.begin() as connection:
        # SQLite's BEGIN IMMEDIATE is this lock already.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        yield connection
