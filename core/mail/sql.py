"""The outbox and the one-time tokens in SQL."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    ScalarSelect,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    and_,
    delete,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from core.mail.model import FURTHEST_DUE, MAX_ERROR, REVOCABLE, Message, OneTimeToken, Purpose
from core.storage.pages import page_of
from core.storage.schema import UtcDateTime, metadata
from core.users.sql import users

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
    # The end of the lease while a worker sends, the time of the next attempt, and null when the message is sent or
    # given up: one column, one index, and the message of a killed worker is due again by itself.
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
    Column("used_at", UtcDateTime, nullable=True),
    UniqueConstraint("digest"),
    Index(None, "user_id", "purpose", "id"),
    Index(None, "expires_at"),
)


def _message_of(row: Row[Any]) -> Message:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    return Message(**values)


def _is_for(user_id: uuid.UUID) -> ColumnElement[bool]:
    address = select(users.c.canonical_email).where(users.c.id == user_id).scalar_subquery()
    return or_(outbox.c.user_id == user_id, _only_names(address))


def _only_names(canonical_email: str | ScalarSelect[str]) -> ColumnElement[bool]:
    # An address is kept only until a message is sent. With this condition the index finds the few unsent messages.
    has_address = or_(outbox.c.due_at.is_not(null()), outbox.c.dead_at.is_not(null()))
    return and_(outbox.c.canonical_email == canonical_email, has_address)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(outbox.c.due_at <= now, outbox.c.due_at > now + FURTHEST_DUE)


class SqlOutbox:
    """The `Outbox` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_added = False
        """Whether a message was stored, so that the commit wakes the mail worker."""

    def add(self, message: Message) -> None:
        self.has_added = True
        self._connection.execute(
            insert(outbox).values(
                id=message.id,
                kind=str(message.kind),
                user_id=message.user_id,
                canonical_email=message.canonical_email,
                address=message.address,
                languages=message.languages,
                facts=dict(message.facts),
                seed=message.seed,
                created_at=message.created_at,
                due_at=message.due_at,
                attempts=message.attempts,
                prepared_at=message.prepared_at,
                sent_at=message.sent_at,
                dead_at=message.dead_at,
                last_error=message.last_error,
            )
        )

    def is_due(self, *, now: datetime) -> bool:
        return self._connection.scalar(select(outbox.c.id).where(_is_due(now)).limit(1)) is not None

    def claim(self, *, now: datetime, lease: timedelta) -> Message | None:
        longest = (
            select(outbox.c.id)
            .where(_is_due(now))
            .order_by(outbox.c.due_at, outbox.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = self._connection.execute(
            update(outbox)
            # "=" and not "IN": PostgreSQL may run the sub-select of an IN more than once and take several.
            .where(outbox.c.id == longest.scalar_subquery())
            .values(due_at=now + lease, attempts=outbox.c.attempts + 1)
            .returning(outbox)
        ).one_or_none()
        return None if row is None else _message_of(row)

    def prepare(self, message_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime) -> bool:
        prepared = (
            update(outbox)
            .where(outbox.c.id == message_id)
            .values(user_id=user_id, prepared_at=func.coalesce(outbox.c.prepared_at, at))
        )
        return self._connection.execute(prepared).rowcount == 1

    def prepared_since(
        self, user_id: uuid.UUID, kind: str, *, since: datetime, until: datetime, excluding: uuid.UUID
    ) -> int:
        count = self._connection.scalar(
            select(func.count()).where(
                outbox.c.user_id == user_id,
                outbox.c.kind == kind,
                outbox.c.prepared_at > since,
                outbox.c.prepared_at <= until,
                outbox.c.id != excluding,
            )
        )
        return count or 0

    def cancel(self, user_id: uuid.UUID, kind: str, *, after: uuid.UUID | None = None) -> None:
        unsent = delete(outbox).where(outbox.c.kind == kind, _is_for(user_id), outbox.c.sent_at.is_(null()))
        self._connection.execute(unsent if after is None else unsent.where(outbox.c.id > after))

    def forget_address(self, canonical_email: str) -> None:
        self._connection.execute(delete(outbox).where(_only_names(canonical_email)))

    def remove(self, message_id: uuid.UUID) -> None:
        self._connection.execute(delete(outbox).where(outbox.c.id == message_id))

    def finish(self, message: Message, *, at: datetime) -> None:
        self._conclude(
            message, sent_at=at, due_at=None, canonical_email=None, address=None, facts={}, seed=b"", last_error=None
        )

    def postpone(self, message: Message, *, due_at: datetime, error: str) -> None:
        self._conclude(message, due_at=due_at, last_error=error[:MAX_ERROR])

    def give_up(self, message: Message, *, at: datetime, error: str) -> None:
        self._conclude(message, due_at=None, dead_at=at, last_error=error[:MAX_ERROR])

    def failed(self) -> list[Message]:
        rows = self._connection.execute(
            select(outbox).where(outbox.c.dead_at.is_not(null())).order_by(outbox.c.dead_at, outbox.c.id)
        )
        return [_message_of(row) for row in rows]

    def retry(self, message_id: uuid.UUID | None, *, at: datetime) -> int:
        due = update(outbox).where(outbox.c.dead_at.is_not(null()))
        if message_id is not None:
            due = due.where(outbox.c.id == message_id)
        return self._connection.execute(due.values(dead_at=None, due_at=at, attempts=0)).rowcount

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Message]:
        page = page_of(select(outbox).where(_is_for(user_id)), outbox.c.id, after, limit)
        return [_message_of(row) for row in self._connection.execute(page)]

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        own = select(outbox.c.id).where(outbox.c.user_id == user_id).limit(limit)
        return self._connection.execute(delete(outbox).where(outbox.c.id.in_(own))).rowcount

    def purge(self, *, sent_before: datetime, dead_before: datetime, limit: int) -> int:
        is_old = or_(outbox.c.sent_at < sent_before, outbox.c.dead_at < dead_before)
        old = select(outbox.c.id).where(is_old).limit(limit)
        return self._connection.execute(delete(outbox).where(outbox.c.id.in_(old))).rowcount

    def _conclude(self, message: Message, **values: Any) -> None:
        # The number of attempts is a fencing token: a worker whose lease has ended changes nothing any more.
        is_leased = (outbox.c.id == message.id, outbox.c.attempts == message.attempts, outbox.c.sent_at.is_(null()))
        self._connection.execute(update(outbox).where(*is_leased).values(**values))


_NOT_ENDED = email_tokens.c.ended_at.is_(null())
_NOT_ENDED_OR_USED = or_(_NOT_ENDED, email_tokens.c.used_at.is_not(null()))


def _token_of(row: Row[Any]) -> OneTimeToken:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    return OneTimeToken(**values | {"purpose": Purpose(values["purpose"])})


class SqlOneTimeTokens:
    """The `OneTimeTokens` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, token: OneTimeToken) -> None:
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
                used_at=token.used_at,
            )
        )

    def latest(self, user_id: uuid.UUID, purpose: Purpose, *, until: datetime) -> OneTimeToken | None:
        row = self._connection.execute(
            select(email_tokens)
            .where(
                email_tokens.c.user_id == user_id,
                email_tokens.c.purpose == purpose.value,
                email_tokens.c.created_at <= until,
            )
            .order_by(email_tokens.c.id.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else _token_of(row)

    def by_id(self, message_id: uuid.UUID) -> OneTimeToken | None:
        row = self._connection.execute(select(email_tokens).where(email_tokens.c.id == message_id)).one_or_none()
        return None if row is None else _token_of(row)

    def find(
        self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime, or_used: bool = False
    ) -> OneTimeToken | None:
        row = self._connection.execute(
            select(email_tokens).where(
                email_tokens.c.digest == digest,
                email_tokens.c.purpose.in_([purpose.value for purpose in purposes]),
                _NOT_ENDED_OR_USED if or_used else _NOT_ENDED,
                email_tokens.c.expires_at > now,
            )
        ).one_or_none()
        return None if row is None else _token_of(row)

    def use(self, token_id: uuid.UUID, *, at: datetime) -> bool:
        used = (
            update(email_tokens)
            .where(email_tokens.c.id == token_id, _NOT_ENDED, email_tokens.c.expires_at > at)
            .values(ended_at=at, used_at=at, address="")
        )
        return self._connection.execute(used).rowcount == 1

    def end_all(
        self,
        user_id: uuid.UUID,
        *,
        at: datetime,
        purposes: Collection[Purpose] = REVOCABLE,
        keep: uuid.UUID | None = None,
        after: uuid.UUID | None = None,
    ) -> None:
        ended = update(email_tokens).where(
            email_tokens.c.user_id == user_id,
            email_tokens.c.purpose.in_([purpose.value for purpose in purposes]),
            _NOT_ENDED_OR_USED,
        )
        if keep is not None:
            ended = ended.where(email_tokens.c.id != keep)
        if after is not None:
            ended = ended.where(email_tokens.c.id > after)
        at_first = func.coalesce(email_tokens.c.ended_at, at)
        self._connection.execute(ended.values(ended_at=at_first, used_at=None, address=""))

    def end_some(self, *, at: datetime, limit: int) -> int:
        works = and_(email_tokens.c.expires_at > at, email_tokens.c.ended_at.is_(null()))
        some = select(email_tokens.c.id).where(works).limit(limit)
        ended = update(email_tokens).where(email_tokens.c.id.in_(some), email_tokens.c.ended_at.is_(null()))
        return self._connection.execute(ended.values(ended_at=at, address="")).rowcount

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[OneTimeToken]:
        page = page_of(select(email_tokens).where(email_tokens.c.user_id == user_id), email_tokens.c.id, after, limit)
        return [_token_of(row) for row in self._connection.execute(page)]

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        own = select(email_tokens.c.id).where(email_tokens.c.user_id == user_id).limit(limit)
        return self._connection.execute(delete(email_tokens).where(email_tokens.c.id.in_(own))).rowcount

    def purge(self, *, now: datetime, limit: int) -> int:
        is_unsent = or_(outbox.c.due_at.is_not(null()), outbox.c.dead_at.is_not(null()))
        has_unsent = exists().where(outbox.c.user_id == email_tokens.c.user_id, is_unsent)
        old = select(email_tokens.c.id).where(email_tokens.c.expires_at <= now, ~has_unsent).limit(limit)
        return self._connection.execute(delete(email_tokens).where(email_tokens.c.id.in_(old))).rowcount
