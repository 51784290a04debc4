"""The tally: the counters in a unit of work, under keys that show nobody what is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from core.store import UnitOfWork
from core.throttling.model import Counter, CounterKind, Rules, counter_key, expiry

CounterKeys = Mapping[CounterKind, str]


class CounterStore:
    """Holds and stores counters by their rules, and knows under which keys they lie."""

    def __init__(self, *, key: bytes, rules: Rules) -> None:
        self._key = key
        self.rules = rules

    def key_of(self, kind: CounterKind, *parts: str) -> str:
        """The key of a counter of this kind."""
        return counter_key(self._key, kind.value, *parts)

    def lock(self, work: UnitOfWork, keys: CounterKeys, now: datetime) -> dict[CounterKind, Counter]:
        """The counters under these keys, held until the unit of work ends."""
        # In one order for everybody, so that two attempts never wait for each other.
        held = work.counters.lock(sorted(keys.values()), now=now)
        return {kind: held[key] for kind, key in keys.items()}

    def read(self, read: UnitOfWork, keys: CounterKeys, now: datetime) -> dict[CounterKind, Counter]:
        """The counters under these keys as they stand: enough to refuse an attempt, too little to let one through.

        Who is refused by them waits for nobody. Held, one counter would be a line of all who are refused from an
        address block, each with a connection that is missing elsewhere meanwhile.
        """
        seen = read.counters.read(list(keys.values()), now=now)
        return {kind: seen[key] for kind, key in keys.items()}

    def save(self, work: UnitOfWork, keys: CounterKeys, counters: Mapping[CounterKind, Counter]) -> None:
        """Store counters that are held."""
        for kind, counter in counters.items():
            work.counters.save(keys[kind], counter, expires_at=expiry(counter, self.rules[kind]))

    def change(
        self, work: UnitOfWork, keys: CounterKeys, now: datetime, changed: Callable[[CounterKind, Counter], Counter]
    ) -> None:
        """Hold counters, and store what each is made to be."""
        held = self.lock(work, keys, now)
        self.save(work, keys, {kind: changed(kind, counter) for kind, counter in held.items()})
