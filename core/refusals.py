"""Refusals in the audit log: so many of an address block, and the log does not grow with a flood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.audit import Client, EventKind, event
from core.clock import Clock
from core.counters import CounterKind, Pause, block_of, weigh
from core.retries import retried

if TYPE_CHECKING:
    from core.store import Store
    from core.tally import CounterKeys, Tally


class RefusalLog:
    """Puts refusals down that cost whoever causes them next to nothing."""

    def __init__(self, *, store: Store, clock: Clock, tally: Tally) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally

    def record(self, kind: EventKind, client: Client, *, subject: str | None = None) -> None:
        """Put a refusal down, unless there were too many; what is beyond stands in the access log alone."""
        refusals = CounterKind.REFUSALS_FROM_BLOCK
        keys = {refusals: self._tally.key_of(refusals, block_of(client.ip))}
        if self._has_room(keys):
            self._put_down(keys, kind, client, subject)

    @retried
    def _has_room(self, keys: CounterKeys) -> bool:
        """Whether the counter lets one more through, as far as one sees without a lock."""
        now = self._clock.now()
        with self._store.reading() as read:
            seen = self._tally.look(read, keys, now)
        return not isinstance(weigh(seen, self._tally.rules, now), Pause)

    @retried
    def _put_down(self, keys: CounterKeys, kind: EventKind, client: Client, subject: str | None) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            counted = weigh(self._tally.hold(work, keys, now), self._tally.rules, now)
            if isinstance(counted, Pause):
                return
            self._tally.put(work, keys, counted)
            work.audit.add(event(kind, at=now, client=client, subject=subject))
            work.commit()
