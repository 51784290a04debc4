"""The throttle: counts attempts in the database, for all processes, and refuses those that come too soon.

Guesses are slowed down, and nobody is locked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from core.audit.model import EventKind, event
from core.clock import Clock
from core.origin import Origin
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.throttling.counters import CounterKeys, CounterStore
from core.throttling.errors import TooManyAttempts
from core.throttling.model import Counter, CounterKind, Wait, after_success, block_of, decide, undo
from core.users.addresses import canonical_or_none

log = structlog.get_logger("throttle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt, counted before its outcome is known: of a hundred at once, only the burst is allowed."""

    keys: Mapping[CounterKind, str]


class Throttle:
    """Counts attempts and refuses those that come too soon."""

    def __init__(self, *, store: Store, clock: Clock, counters: CounterStore) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters

    def begin(self, email: str, origin: Origin) -> Attempt:
        """Count an attempt to prove a password, before it is checked.

        Raises:
            TooManyAttempts: it comes too soon. Such an attempt is not counted, so that waiting helps.

        """
        account, block = canonical_or_none(email) or "", block_of(origin.ip)
        parts = {
            CounterKind.ACCOUNT_FROM_BLOCK: (account, block),
            CounterKind.BLOCK: (block,),
            CounterKind.ACCOUNT_FROM_STRANGERS: (account,),
        }
        return self._count({kind: self._counters.key_of(kind, *parts[kind]) for kind in parts}, origin)

    @contextmanager
    def attempt(self, email: str, origin: Origin) -> Iterator[Attempt]:
        """Count an attempt around its check, and take it back if the check raises.

        Then the password was not checked, or was right without effect; the caller learns nothing about it.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        counted = self.begin(email, origin)
        try:
            yield counted
        except BaseException:
            self.forget(counted)
            raise

    def count(self, kind: CounterKind, origin: Origin) -> None:
        """Count a request that has a rate limit for each address block.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        self._count({kind: self._counters.key_of(kind, block_of(origin.ip))}, origin)

    def _count(self, keys: CounterKeys, origin: Origin) -> Attempt:
        self._refuse_early(keys, origin)
        return self._decide_locked(keys, origin)

    @retried
    def _refuse_early(self, keys: CounterKeys, origin: Origin) -> None:
        """Refuse an attempt that has to wait anyway, without a lock and without a write."""
        now = self._clock.now()
        with self._store.reading() as read:
            counters = self._counters.read(read, keys, now)
        _allowed(decide(counters, self._counters.rules, now), origin)

    @retried
    def _decide_locked(self, keys: CounterKeys, origin: Origin) -> Attempt:
        """Count an attempt or refuse it, under the lock: others may have used up the burst since it was read."""
        now = self._clock.now()
        with self._store.begin() as work:
            counted = _allowed(decide(self._counters.lock(work, keys, now), self._counters.rules, now), origin)
            self._counters.save(work, keys, counted)
            for kind, counter in counted.items():
                if counter.count == self._counters.rules[kind].burst:
                    work.audit.add(event(EventKind.THROTTLED, at=now, origin=origin))
            work.commit()
        return Attempt(keys={kind: keys[kind] for kind in counted})

    @retried
    def forget(self, attempt: Attempt) -> None:
        """Take an attempt back: its password was not checked, or was right without effect."""
        with self._store.begin() as work:
            self._counters.change(work, attempt.keys, self._clock.now(), lambda _, counter: undo(counter))
            work.commit()

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Record, in the unit of work that starts the session, that the password was right.

        Earlier failures are forgotten for the account, but not for the block: an attacker could log in to their own
        account between the guesses.
        """
        self._apply_success(work, attempt.keys)

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Make an address block the account's own: the owner has reset the password from there."""
        kind = CounterKind.ACCOUNT_FROM_BLOCK
        key = self._counters.key_of(kind, canonical_or_none(email) or "", block_of(origin.ip))
        self._apply_success(work, {kind: key})

    def trusts(self, work: UnitOfWork, email: str, ip: str) -> bool:
        """Whether the block of an address has logged in to the account, or reset its password."""
        kind = CounterKind.ACCOUNT_FROM_BLOCK
        keys = {kind: self._counters.key_of(kind, canonical_or_none(email) or "", block_of(ip))}
        now = self._clock.now()
        return self._counters.read(work, keys, now)[kind].is_familiar(now)

    def _apply_success(self, work: UnitOfWork, keys: CounterKeys) -> None:
        now = self._clock.now()
        self._counters.change(work, keys, now, partial(after_success, now=now))


class NoThrottle(Throttle):
    """Counts nothing and refuses nothing: an operator has switched the throttle off."""

    def begin(self, email: str, origin: Origin) -> Attempt:  # noqa: ARG002
        """Allow the attempt."""
        return Attempt(keys={})

    def count(self, kind: CounterKind, origin: Origin) -> None:
        """Allow the request."""

    def forget(self, attempt: Attempt) -> None:
        """Do nothing: nothing was counted."""

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Do nothing."""

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Do nothing."""


def _allowed(decision: Wait | dict[CounterKind, Counter], origin: Origin) -> dict[CounterKind, Counter]:
    if isinstance(decision, Wait):
        log.warning("throttled", ip=origin.ip, seconds=round(decision.left.total_seconds(), 1))
        raise TooManyAttempts(decision.left)
    return decision
