"""Bring a database to a revision, once, however many processes start at the same moment."""

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
    with engine.begin() as connection:
        _lock(connection)
        command.upgrade(config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down."""
    with engine.begin() as connection:
        _lock(connection)
        command.downgrade(config(connection), revision)


def _lock(connection: Connection) -> None:
    # SQLite's BEGIN IMMEDIATE is this lock already.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
