"""Refusals in the audit log, limited for each address block, so that a flood does not make the log grow."""

from __future__ import annotations

from datetime import timedelta

import structlog

from core.audit.model import EventKind, event
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.origin import Origin
from core.storage.retries import retried
from core.store import Store
from core.throttling.counters import CounterKeys, CounterStore
from core.throttling.model import CounterKind, Wait, add, block_of, decide

RECORDED_WITHIN = timedelta(seconds=0.2)
"""The wait for SQLite's one writer."""

log = structlog.get_logger("throttle")


class RejectionLog:
    """Records refusals that cost their caller next to nothing."""

    def __init__(self, *, store: Store, clock: Clock, counters: CounterStore) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters

    def record(self, kind: EventKind, origin: Origin, *, subject: str | None = None) -> None:
        """Record a refusal, unless there were too many; those beyond the limit are in the access log only.

        The refusal is decided and hardly waits for its record: where the database lets nobody write, it is in the
        process's log instead.
        """
        refusals = CounterKind.REFUSALS_FROM_BLOCK
        keys = {refusals: self._counters.key_of(refusals, block_of(origin.ip))}
        if not self._has_room(keys):
            return
        try:
            self._add(keys, kind, origin, subject)
        except DatabaseUnavailable:
            log.warning("refusal_not_recorded", kind=kind.value, ip=origin.ip, subject=subject)

    @retried
    def _has_room(self, keys: CounterKeys) -> bool:
        """Whether the counter allows one more, as read without a lock."""
        now = self._clock.now()
        with self._store.reading() as read:
            counters = self._counters.read(read, keys, now)
        return not isinstance(decide(counters, self._counters.rules, now, add), Wait)

    @retried
    def _add(self, keys: CounterKeys, kind: EventKind, origin: Origin, subject: str | None) -> None:
        now = self._clock.now()
        with self._store.begin(turn_within=RECORDED_WITHIN) as work:
            counted = decide(self._counters.lock(work, keys, now), self._counters.rules, now, add)
            if isinstance(counted, Wait):
                return
            self._counters.save(work, keys, counted)
            work.audit.add(event(kind, at=now, origin=origin, subject=subject))
            work.commit()
