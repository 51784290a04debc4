"""The tokens in links in SQL."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, null, or_, select, update

from core.email_tokens import EmailToken, Purpose
from core.repositories.tables import email_tokens, outbox


def _token_of(row: Row[Any]) -> EmailToken:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    return EmailToken(**values | {"purpose": Purpose(values["purpose"])})


class SqlEmailTokens:
    """The `EmailTokens` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, token: EmailToken) -> None:
        """Store a token, or the one of the same message anew."""
        self._connection.execute(delete(email_tokens).where(email_tokens.c.id == token.id))
        self._connection.execute(
            insert(email_tokens).values(
                id=token.id,
                user_id=token.user_id,
                purpose=token.purpose.value,
                digest=token.digest,
                address=token.address,
                created_at=token.created_at,
                expires_at=token.expires_at,
                ended_at=token.ended_at,
            )
        )

    def latest(self, user_id: uuid.UUID, purpose: Purpose) -> EmailToken | None:
        """The token of the newest message, ended or not."""
        row = self._connection.execute(
            select(email_tokens)
            .where(email_tokens.c.user_id == user_id, email_tokens.c.purpose == purpose.value)
            .order_by(email_tokens.c.id.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else _token_of(row)

    def by_id(self, message_id: uuid.UUID) -> EmailToken | None:
        """The token of a message, ended or not."""
        row = self._connection.execute(select(email_tokens).where(email_tokens.c.id == message_id)).one_or_none()
        return None if row is None else _token_of(row)

    def find(self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime) -> EmailToken | None:
        """The token behind a digest that has neither ended nor expired."""
        row = self._connection.execute(
            select(email_tokens).where(
                email_tokens.c.digest == digest,
                email_tokens.c.purpose.in_([purpose.value for purpose in purposes]),
                email_tokens.c.ended_at.is_(null()),
                email_tokens.c.expires_at > now,
            )
        ).one_or_none()
        return None if row is None else _token_of(row)

    def use(self, token_id: uuid.UUID, *, at: datetime) -> bool:
        """End a token that has neither ended nor expired, and forget its address."""
        used = (
            update(email_tokens)
            .where(email_tokens.c.id == token_id, email_tokens.c.ended_at.is_(null()), email_tokens.c.expires_at > at)
            .values(ended_at=at, address="")
        )
        return self._connection.execute(used).rowcount == 1

    def end_all(self, user_id: uuid.UUID, *, at: datetime, purpose: Purpose | None = None) -> None:
        """End every token of a user, or those of a purpose, and forget their addresses."""
        ended = update(email_tokens).where(email_tokens.c.user_id == user_id, email_tokens.c.ended_at.is_(null()))
        if purpose is not None:
            ended = ended.where(email_tokens.c.purpose == purpose.value)
        self._connection.execute(ended.values(ended_at=at, address=""))

    def of(self, user_id: uuid.UUID) -> list[EmailToken]:
        """The tokens of a user, oldest first."""
        rows = self._connection.execute(
            select(email_tokens).where(email_tokens.c.user_id == user_id).order_by(email_tokens.c.id)
        )
        return [_token_of(row) for row in rows]

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` tokens that have expired, but for those of users to whom a message may be sent."""
        may_be_sent = or_(outbox.c.due_at.is_not(null()), outbox.c.dead_at.is_not(null()))
        waits = exists().where(outbox.c.user_id == email_tokens.c.user_id, may_be_sent)
        old = select(email_tokens.c.id).where(email_tokens.c.expires_at <= now, ~waits).limit(limit)
        return self._connection.execute(delete(email_tokens).where(email_tokens.c.id.in_(old))).rowcount
