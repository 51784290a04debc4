"""Revocations in SQL."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, null, or_, select, update

from core.repositories.tables import revocation_feed, revocations
from core.revocations import Revocation, RevocationKind, hash_of


class SqlRevocations:
    """The `Revocations` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entries: Iterable[Revocation]) -> None:
        """Store new entries, not yet numbered."""
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
            # One statement for all of them: the driver sends several in a pipeline, and where it loses a server behind
            # a pooler in the middle of one, it can neither tell what happened nor use the connection again.
            self._connection.execute(insert(revocations).values(rows if len(rows) > 1 else rows[0]))

    def has_unnumbered(self) -> bool:
        """Whether entries wait for their number."""
        return bool(self._connection.scalar(select(exists().where(revocations.c.number.is_(null())))))

    def number(self, *, limit: int) -> int:
        """Number committed entries. The feed's row is locked first: who comes second sees the numbers of the first."""
        head = self._connection.scalar(select(revocation_feed.c.head).with_for_update()) or 0
        place = func.row_number().over(order_by=revocations.c.id).label("place")
        waiting = select(revocations.c.id, place).where(revocations.c.number.is_(null()))
        first = waiting.order_by(revocations.c.id).limit(limit).subquery()
        numbers = self._connection.scalars(
            update(revocations)
            .where(revocations.c.id == first.c.id)
            .values(number=head + first.c.place)
            .returning(revocations.c.number)
        ).all()
        if numbers:
            self._connection.execute(update(revocation_feed).values(head=max(numbers)))
        return len(numbers)

    def after(self, number: int, *, now: datetime, limit: int) -> tuple[list[Revocation], int]:
        """The entries behind a number that have not expired, in order, and the number of the last one."""
        rows = self._connection.execute(
            select(revocations)
            .where(revocations.c.number > number, revocations.c.expires_at > now)
            .order_by(revocations.c.number)
            .limit(limit)
        ).all()
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
        return found, rows[-1].number if rows else number

    def revokes(self, *, token_id: str, subject: str, issued_at: datetime, now: datetime) -> bool:
        """Whether an entry in force ends a token: by its id, or by its subject where it was issued before then."""
        named = or_(_is(RevocationKind.TOKEN, token_id), _is(RevocationKind.SUBJECT, subject))
        not_before = revocations.c.not_before
        in_force = and_(or_(not_before.is_(null()), not_before > issued_at), revocations.c.expires_at > now)
        return bool(self._connection.scalar(select(exists().where(named, in_force))))

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired entries."""
        expired = select(revocations.c.id).where(revocations.c.expires_at <= now).limit(limit)
        return self._connection.execute(delete(revocations).where(revocations.c.id.in_(expired))).rowcount


def _is(kind: RevocationKind, value: str) -> ColumnElement[bool]:
    return and_(revocations.c.value_hash == hash_of(value), revocations.c.kind == kind.value)
