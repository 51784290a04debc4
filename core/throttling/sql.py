"""The counters of the throttle in SQL."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import JSON, Column, Connection, Index, Integer, String, Table, delete, select, update

from core.storage.schema import UtcDateTime, metadata
from core.storage.upsert import upsert
from core.throttling.model import Counter

throttle_counters = Table(
    "throttle_counters",
    metadata,
    # A keyed hash: the addresses that users type are not stored, because they may be passwords.
    Column("key", String(64), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=True),
    Column("familiar_until", UtcDateTime, nullable=True),
    Column("expires_at", UtcDateTime, nullable=False),
    # Microseconds since 1970 at which the attempts under way began.
    Column("pending", JSON(none_as_null=True), nullable=True),
    Index(None, "expires_at"),
)

_COLUMNS = (
    throttle_counters.c.key,
    throttle_counters.c["count"],
    throttle_counters.c.at,
    throttle_counters.c.since,
    throttle_counters.c.familiar_until,
    throttle_counters.c.pending,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqlCounters:
    """The `Counters` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lock(self, keys: Sequence[str], *, now: datetime) -> dict[str, Counter]:
        # One statement inserts missing rows, locks all and reads them: between two statements a purge could delete.
        inserted = upsert(self._connection, throttle_counters).values(
            [
                {"key": key, "count": 0, "at": now, "since": None, "familiar_until": None, "expires_at": now}
                for key in sorted(keys)
            ]
        )
        found = self._connection.execute(
            inserted.on_conflict_do_update(
                index_elements=[throttle_counters.c.key], set_={"key": inserted.excluded.key}
            ).returning(*_COLUMNS)
        )
        return _by_key(found)

    def read(self, keys: Sequence[str], *, now: datetime) -> dict[str, Counter]:
        found = self._connection.execute(select(*_COLUMNS).where(throttle_counters.c.key.in_(keys)))
        return {key: Counter(count=0, at=now) for key in keys} | _by_key(found)

    def save(self, key: str, counter: Counter, *, expires_at: datetime) -> None:
        self._connection.execute(
            update(throttle_counters)
            .where(throttle_counters.c.key == key)
            .values(
                count=counter.count,
                at=counter.at,
                since=counter.since,
                familiar_until=counter.familiar_until,
                pending=[(begun - _EPOCH) // _MICROSECOND for begun in counter.pending] or None,
                expires_at=expires_at,
            )
        )

    def purge(self, *, now: datetime, limit: int) -> int:
        old = self._connection.scalars(
            select(throttle_counters.c.key)
            .where(throttle_counters.c.expires_at < now)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        # Two statements: inside a DELETE, PostgreSQL may run the SELECT more than once, and each time skip the rows
        # that it has locked itself.
        return self._connection.execute(delete(throttle_counters).where(throttle_counters.c.key.in_(old))).rowcount


def _by_key(rows: Iterable[Sequence[Any]]) -> dict[str, Counter]:
    return {
        key: Counter(count=count, at=at, since=since, familiar_until=until, pending=_times(pending))
        for key, count, at, since, until, pending in rows
    }


def _times(pending: Iterable[int] | None) -> tuple[datetime, ...]:
    return tuple(_EPOCH + begun * _MICROSECOND for begun in pending or ())
