"""Refusals in the audit log: so many of an address block, and the log does not grow with a flood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.audit import Client, EventKind, event
from core.clock import Clock
from core.counters import CounterKind, Pause, block_of, weigh
from core.retries import retried

if TYPE_CHECKING:
    from core.store import Store
    from core.tally import Tally


class RefusalLog:
    """Puts refusals down that cost whoever causes them next to nothing."""

    def __init__(self, *, store: Store, clock: Clock, tally: Tally) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally

    @retried
    def record(self, kind: EventKind, client: Client, *, subject: str | None = None) -> None:
        """Put a refusal down, unless there were too many; what is beyond stands in the access log alone."""
        now = self._clock.now()
        refusals = CounterKind.REFUSALS_FROM_BLOCK
        keys = {refusals: self._tally.key_of(refusals, block_of(client.ip))}
        with self._store.begin() as work:
            counted = weigh(self._tally.hold(work, keys, now), self._tally.rules, now)
            if isinstance(counted, Pause):
                return
            self._tally.put(work, keys, counted)
            work.audit.add(event(kind, at=now, client=client, subject=subject))
            work.commit()
