"""Signing keys and revocations in SQL."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
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

from core.storage.engine import database_errors
from core.storage.schema import UtcDateTime, metadata
from core.tokens.errors import KeyNumberTakenError, UnknownCursor
from core.tokens.model import Cursor, Revocation, RevocationKind, SigningKey, hash_of

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

_REFUSALS = {"uq_signing_keys_number": KeyNumberTakenError}

revocations = Table(
    "revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Assigned after the commit, by one process at a time, so that numbers appear in order and no reader misses one.
    Column("number", BigInteger, nullable=True),
    Column("kind", String(16), nullable=False),
    Column("value_hash", String(43), nullable=False),
    Column("not_before", UtcDateTime, nullable=True),
    Column("expires_at", UtcDateTime, nullable=False),
    UniqueConstraint("number"),
    Index(None, "value_hash"),
    Index(None, "expires_at"),
)

# One row: the last number that was assigned; it is locked to assign the next ones.
revocation_feed = Table(
    "revocation_feed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("head", BigInteger, nullable=False),
)


class SqlKeys:
    """The `Keys` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[SigningKey]:
        rows = self._connection.execute(select(signing_keys).order_by(signing_keys.c.number))
        return [SigningKey(**row) for row in rows.mappings()]

    def add(self, key: SigningKey) -> None:
        with database_errors(_REFUSALS):
            self._connection.execute(
                insert(signing_keys).values(
                    kid=key.kid,
                    number=key.number,
                    algorithm=key.algorithm,
                    public_jwk=key.public_jwk,
                    sealed_private_key=key.sealed_private_key,
                    created_at=key.created_at,
                    activates_at=key.activates_at,
                )
            )

    def replace_sealed(self, kid: str, sealed_private_key: bytes) -> None:
        self._connection.execute(
            update(signing_keys).where(signing_keys.c.kid == kid).values(sealed_private_key=sealed_private_key)
        )

    def remove(self, kid: str) -> None:
        self._connection.execute(delete(signing_keys).where(signing_keys.c.kid == kid))

    def activate(self, kid: str, *, at: datetime) -> None:
        self._connection.execute(update(signing_keys).where(signing_keys.c.kid == kid).values(activates_at=at))


class SqlRevocations:
    """The `Revocations` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entries: Iterable[Revocation]) -> None:
        rows = [
            {
                "id": entry.id,
                "number": None,
                "kind": entry.kind.value,
                "value_hash": entry.value_hash,
                "not_before": entry.not_before,
                "expires_at": entry.expires_at,
            }
            for entry in entries
        ]
        if rows:
            # One statement for all entries: the driver sends several in a pipeline, and if a pooler loses its server in
            # the middle of one, the driver neither knows the outcome nor can use the connection again.
            self._connection.execute(insert(revocations).values(rows if len(rows) > 1 else rows[0]))

    def has_unnumbered(self) -> bool:
        return bool(self._connection.scalar(select(exists().where(revocations.c.number.is_(null())))))

    def newest(self) -> Cursor | None:
        number = revocations.c.number
        last = select(number, revocations.c.id).where(number.is_not(null())).order_by(number.desc()).limit(1)
        row = self._connection.execute(last).one_or_none()
        return None if row is None else Cursor.behind(row.number, row.id)

    def number(self, *, limit: int) -> int:
        # The feed's row is locked first, so that the next process sees the numbers of this one.
        head = self._connection.scalar(select(revocation_feed.c.head).with_for_update()) or 0
        place = func.row_number().over(order_by=revocations.c.id).label("place")
        unnumbered = select(revocations.c.id, place).where(revocations.c.number.is_(null()))
        first = unnumbered.order_by(revocations.c.id).limit(limit).subquery()
        numbers = self._connection.scalars(
            update(revocations)
            .where(revocations.c.id == first.c.id)
            .values(number=head + first.c.place)
            .returning(revocations.c.number)
        ).all()
        if numbers:
            self._connection.execute(update(revocation_feed).values(head=max(numbers)))
        return len(numbers)

    def after(self, cursor: Cursor | None, *, now: datetime, limit: int) -> tuple[list[Revocation], Cursor | None]:
        in_force, number = revocations.c.expires_at > now, revocations.c.number
        wanted = (
            and_(number.is_not(null()), in_force)
            if cursor is None
            # The cursor's own entry as well, which may have expired a moment ago.
            else and_(number >= cursor.number, or_(in_force, number == cursor.number))
        )
        rows = self._connection.execute(select(revocations).where(wanted).order_by(number).limit(limit + 1)).all()
        if cursor is not None:
            if not rows or Cursor.behind(rows[0].number, rows[0].id) != cursor:
                raise UnknownCursor
            rows = rows[1:]
        rows = rows[:limit]
        found = [
            Revocation(
                id=row.id,
                kind=RevocationKind(row.kind),
                value_hash=row.value_hash,
                not_before=row.not_before,
                expires_at=row.expires_at,
            )
            for row in rows
        ]
        return found, Cursor.behind(rows[-1].number, rows[-1].id) if rows else cursor

    def revokes(self, *, token_id: str, subject: str, issued_at: datetime, now: datetime) -> bool:
        named = or_(_is(RevocationKind.TOKEN, token_id), _is(RevocationKind.SUBJECT, subject))
        not_before = revocations.c.not_before
        in_force = and_(or_(not_before.is_(null()), not_before > issued_at), revocations.c.expires_at > now)
        return bool(self._connection.scalar(select(exists().where(named, in_force))))

    def purge(self, *, now: datetime, limit: int) -> int:
        expired = select(revocations.c.id).where(revocations.c.expires_at <= now).limit(limit)
        return self._connection.execute(delete(revocations).where(revocations.c.id.in_(expired))).rowcount


def _is(kind: RevocationKind, value: str) -> ColumnElement[bool]:
    return and_(revocations.c.value_hash == hash_of(value), revocations.c.kind == kind.value)
