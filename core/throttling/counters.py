"""The counters in a unit of work, under hashed keys that do not show what is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from core.store import UnitOfWork
from core.throttling.model import Counter, CounterKind, Rules, counter_key, expiry

CounterKeys = Mapping[CounterKind, str]


class CounterStore:
    """Locks, reads and saves counters by their rules, and makes their keys."""

    def __init__(self, *, key: bytes, rules: Rules) -> None:
        self._key = key
        self.rules = rules

    def key_of(self, kind: CounterKind, *parts: str) -> str:
        """The key of a counter of this kind."""
        return counter_key(self._key, kind.value, *parts)

    def lock(self, work: UnitOfWork, keys: CounterKeys, now: datetime) -> dict[CounterKind, Counter]:
        """Lock the counters under these keys until the unit of work ends."""
        # Every attempt locks in the same order, so that two attempts never deadlock.
        locked = work.counters.lock(sorted(keys.values()), now=now)
        return {kind: locked[key] for kind, key in keys.items()}

    def read(self, read: UnitOfWork, keys: CounterKeys, now: datetime) -> dict[CounterKind, Counter]:
        """Read the counters under these keys without a lock: enough to refuse an attempt, too little to allow one.

        A refused attempt waits for no other. With a lock, all refused attempts of an address block would queue at one
        counter, each with a connection that other requests lack meanwhile.
        """
        seen = read.counters.read(list(keys.values()), now=now)
        return {kind: seen[key] for kind, key in keys.items()}

    def save(self, work: UnitOfWork, keys: CounterKeys, counters: Mapping[CounterKind, Counter]) -> None:
        """Store locked counters."""
        for kind, counter in counters.items():
            work.counters.save(keys[kind], counter, expires_at=expiry(counter, self.rules[kind]))

    def change(
        self, work: UnitOfWork, keys: CounterKeys, now: datetime, changed: Callable[[CounterKind, Counter], Counter]
    ) -> dict[CounterKind, Counter]:
        """Lock counters, change each, and store those that have changed; return all."""
        locked = self.lock(work, keys, now)
        after = {kind: changed(kind, counter) for kind, counter in locked.items()}
        self.save(work, keys, {kind: counter for kind, counter in after.items() if counter != locked[kind]})
        return after
