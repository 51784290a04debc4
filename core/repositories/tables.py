"""The schema, once. Every constraint has a name, because names are how a refusal is told apart."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.types import TypeDecorator

# The migration that this version of the code needs; `readyz` compares it with what the database has.
HEAD_REVISION = "0005"

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
        """Give UTC, whatever zone the connection speaks."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", String(254), nullable=False),
    Column("canonical_email", String(330), nullable=False),
    Column("email_verified", Boolean, nullable=False),
    Column("password_hash", String(512), nullable=False),
    Column("display_name", String(100), nullable=True),
    Column("roles", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("canonical_email"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("seed", LargeBinary(16), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
    Column("idle_expires_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
    Column("end_reason", String(32), nullable=True),
    Column("user_agent", String(256), nullable=False),
    Column("ip", String(64), nullable=False),
    Index(None, "user_id", "last_used_at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    Column("number", Integer, nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("public_jwk", JSON, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("activates_at", UtcDateTime, nullable=False),
    UniqueConstraint("number"),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    # No foreign key: what happened outlives the account it happened to.
    Column("user_id", Uuid, nullable=True),
    Column("session_id", Uuid, nullable=True),
    Column("ip", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("subject", String(64), nullable=True),
    Index(None, "user_id", "id"),
)

clients = Table(
    "clients",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=True),
)

client_secrets = Table(
    "client_secrets",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("client_id", String(64), ForeignKey("clients.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    Index(None, "client_id"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Given after the commit, by one process at a time, so that numbers appear in order and nothing is passed over.
    Column("number", BigInteger, nullable=True),
    Column("kind", String(16), nullable=False),
    Column("value_hash", String(43), nullable=False),
    Column("not_before", UtcDateTime, nullable=True),
    Column("expires_at", UtcDateTime, nullable=False),
    UniqueConstraint("number"),
    Index(None, "value_hash"),
    Index(None, "expires_at"),
)

# One row: the last number that was given, and the lock of whoever gives the next.
revocation_feed = Table(
    "revocation_feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("head", BigInteger, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=True),
    Column("canonical_email", String(330), nullable=True),
    Column("address", String(254), nullable=True),
    Column("languages", String(100), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("seed", LargeBinary(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # The lease of whoever tries, the pause before the next attempt, and null where nothing is to be done: one column,
    # one index, and a relay that was killed gives its message back by doing nothing.
    Column("due_at", UtcDateTime, nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("prepared_at", UtcDateTime, nullable=True),
    Column("sent_at", UtcDateTime, nullable=True),
    Column("dead_at", UtcDateTime, nullable=True),
    Column("last_error", String(200), nullable=True),
    Index(None, "due_at"),
    Index(None, "user_id", "kind", "prepared_at"),
    Index(None, "sent_at"),
    Index(None, "dead_at"),
)

email_tokens = Table(
    "email_tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("address", String(254), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
    UniqueConstraint("digest"),
    Index(None, "user_id", "purpose", "id"),
    Index(None, "expires_at"),
)

throttle_counters = Table(
    "throttle_counters",
    metadata,
    # A keyed hash of what is counted: addresses that people type are not stored, and may be passwords.
    Column("key", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=True),
    Column("familiar_until", UtcDateTime, nullable=True),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)
