"""Revocations in SQL."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, insert, null, select, update

from core.repositories.tables import revocation_feed, revocations
from core.revocations import Revocation, RevocationKind


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

    def contains(self, kind: RevocationKind, value_hash: str, *, now: datetime) -> bool:
        """Whether an entry of this kind and value is in force."""
        return bool(
            self._connection.scalar(
                select(
                    exists().where(
                        revocations.c.value_hash == value_hash,
                        revocations.c.kind == kind.value,
                        revocations.c.expires_at > now,
                    )
                )
            )
        )

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired entries."""
        expired = select(revocations.c.id).where(revocations.c.expires_at <= now).limit(limit)
        return self._connection.execute(delete(revocations).where(revocations.c.id.in_(expired))).rowcount
