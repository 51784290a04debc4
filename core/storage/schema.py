"""The metadata of all tables. Every constraint has a name, by which its violation is recognised."""

import re
from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, MetaData
from sqlalchemy.types import TypeDecorator

# The migration that this version of the code needs; `readyz` compares it with the database's.
HEAD_REVISION = "0008"

_REVISION = re.compile(r"[0-9]{4}")


class SchemaMismatchError(Exception):
    """The database has not the schema of this version. The text is for the operator."""


def require_revision(found: str | None) -> None:
    """Require the schema of this version, or of a later one: schemas only grow (decision 12).

    Raises:
        SchemaMismatchError: it is older, or another application's, which also keeps its revision in `alembic_version`.

    """
    if found is None:
        raise SchemaMismatchError("it has no tables of this service yet")
    if not _REVISION.fullmatch(found):
        raise SchemaMismatchError(
            "its table alembic_version is another application's; AUTH_DATABASE_SCHEMA names a schema of its own for "
            "this service"
        )
    if found < HEAD_REVISION:
        raise SchemaMismatchError(f"its schema is at revision {found}, and this version needs {HEAD_REVISION}")


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: ``timestamptz`` on PostgreSQL, naive UTC text on SQLite, which knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return UTC, whatever the time zone of the connection is."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
