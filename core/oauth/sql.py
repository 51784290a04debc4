"""Registered clients in SQL."""

from datetime import datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    RowMapping,
    String,
    Table,
    insert,
    null,
    or_,
    select,
    update,
)

from core.oauth.model import ClientSecret, RegisteredClient
from core.storage.schema import UtcDateTime, metadata

clients = Table(
    "clients",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=True),
    Column("audiences", JSON(none_as_null=True), nullable=True),
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


def _client_of(row: RowMapping) -> RegisteredClient:
    return RegisteredClient(**{**row, "scopes": tuple(row["scopes"]), "audiences": tuple(row["audiences"] or ())})


class SqlClients:
    """The `Clients` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, client: RegisteredClient) -> None:
        self._connection.execute(
            insert(clients).values(
                id=client.id,
                name=client.name,
                scopes=list(client.scopes),
                is_active=client.is_active,
                created_at=client.created_at,
                last_used_at=client.last_used_at,
                audiences=list(client.audiences),
            )
        )

    def all(self) -> list[RegisteredClient]:
        rows = self._connection.execute(select(clients).order_by(clients.c.created_at, clients.c.id))
        return [_client_of(row) for row in rows.mappings()]

    def by_id(self, client_id: str) -> RegisteredClient | None:
        row = self._connection.execute(select(clients).where(clients.c.id == client_id)).mappings().one_or_none()
        return None if row is None else _client_of(row)

    def set_active(self, client_id: str, *, is_active: bool) -> bool:
        changed = update(clients).where(clients.c.id == client_id).values(is_active=is_active)
        return self._connection.execute(changed).rowcount == 1

    def touch(self, client_id: str, *, at: datetime) -> None:
        self._connection.execute(update(clients).where(clients.c.id == client_id).values(last_used_at=at))

    def add_secret(self, secret: ClientSecret) -> None:
        self._connection.execute(
            insert(client_secrets).values(
                client_id=secret.client_id,
                digest=secret.digest,
                created_at=secret.created_at,
                expires_at=secret.expires_at,
            )
        )

    def secrets_of(self, client_id: str, *, now: datetime) -> list[ClientSecret]:
        rows = self._connection.execute(
            select(client_secrets).where(
                client_secrets.c.client_id == client_id,
                or_(client_secrets.c.expires_at.is_(null()), client_secrets.c.expires_at > now),
            )
        )
        return [ClientSecret(**row) for row in rows.mappings()]

    def expire_secrets(self, client_id: str, *, at: datetime) -> None:
        self._connection.execute(
            update(client_secrets)
            .where(
                client_secrets.c.client_id == client_id,
                or_(client_secrets.c.expires_at.is_(null()), client_secrets.c.expires_at > at),
            )
            .values(expires_at=at)
        )
