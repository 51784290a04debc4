"""Bring a database to a revision once, however many processes start at the same moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from core.storage.postgresql import SCHEMA
from core.storage.sqlite import make_file

# The key of the advisory lock; it must differ from those of other users of the database. The bytes of "twin".
_LOCK = 0x7477696E


def config(connection: Connection | None = None) -> Config:
    """Make Alembic's configuration for our revisions, without a file."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    made.set_main_option("path_separator", "os")
    if connection is not None:
        made.attributes["connection"] = connection
    return made


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up in one transaction; a second process waits and finds the work done."""
    if engine.dialect.name == "sqlite":
        make_file(engine)
    with _locked(engine) as connection:
        command.upgrade(config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down."""
    with _locked(engine) as connection:
        command.downgrade(config(connection), revision)


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """Open a transaction while no other process migrates."""
    if engine.dialect.name == "postgresql":
        # A process that waited for the lock must see the migration, even if the default is serialisable.
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    with engine.begin() as connection:
        # On SQLite, BEGIN IMMEDIATE is the lock.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            _make_schema(connection)
        yield connection


def _make_schema(connection: Connection) -> None:
    """Make the schema that the settings name. `IF NOT EXISTS` alone would need the permission even if it is there."""
    name = connection.get_execution_options().get(SCHEMA)
    is_missing = text("SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = :name)")
    if name and connection.scalar(is_missing, {"name": name}):
        connection.execute(text(f"CREATE SCHEMA {name}"))  # its form is checked by the settings
