"""The throttle: counts attempts where every process sees them, and says how long to wait before the next one.

Who guesses is slowed down, and nobody is locked out.
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
    """An attempt that was counted before its outcome is known: of a hundred at once, the allowance is let through."""

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
            TooManyAttempts: it comes too soon. That is not counted, so that waiting helps.

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
        """Count an attempt around its check, and take it back where that gives no answer.

        It was not looked at then, or it was right and led nowhere; whoever asked was told nothing of it.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        begun = self.begin(email, origin)
        try:
            yield begun
        except BaseException:
            self.forget(begun)
            raise

    def count(self, kind: CounterKind, origin: Origin) -> None:
        """Count what an address block may do only so often.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        self._count({kind: self._counters.key_of(kind, block_of(origin.ip))}, origin)

    def _count(self, keys: CounterKeys, origin: Origin) -> Attempt:
        self._look(keys, origin)
        return self._hold(keys, origin)

    @retried
    def _look(self, keys: CounterKeys, origin: Origin) -> None:
        """Refuse who has to wait anyway, without a lock and without a write."""
        now = self._clock.now()
        with self._store.reading() as read:
            seen = self._counters.read(read, keys, now)
        _let_through(decide(seen, self._counters.rules, now), origin)

    @retried
    def _hold(self, keys: CounterKeys, origin: Origin) -> Attempt:
        """Count an attempt, or refuse it: others may have spent the allowance that it saw. This is what decides."""
        now = self._clock.now()
        with self._store.begin() as work:
            counted = _let_through(decide(self._counters.lock(work, keys, now), self._counters.rules, now), origin)
            self._counters.save(work, keys, counted)
            for kind, counter in counted.items():
                if counter.count == self._counters.rules[kind].allowance:
                    work.audit.add(event(EventKind.THROTTLED, at=now, origin=origin))
            work.commit()
        return Attempt(keys={kind: keys[kind] for kind in counted})

    @retried
    def forget(self, attempt: Attempt) -> None:
        """Take an attempt back: its password was never checked, or was right and led nowhere."""
        with self._store.begin() as work:
            self._counters.change(work, attempt.keys, self._clock.now(), lambda _, counter: undo(counter))
            work.commit()

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Note, in the unit of work that lets somebody in, that the password was right.

        The failures before it are forgotten for the account. Not for the block: an attacker could log in to an account
        of his own between the guesses.
        """
        self._note_success(work, attempt.keys)

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Make an address block the account's own: its owner has reset the password from there."""
        kind = CounterKind.ACCOUNT_FROM_BLOCK
        key = self._counters.key_of(kind, canonical_or_none(email) or "", block_of(origin.ip))
        self._note_success(work, {kind: key})

    def _note_success(self, work: UnitOfWork, keys: CounterKeys) -> None:
        now = self._clock.now()
        self._counters.change(work, keys, now, partial(after_success, now=now))


class NoThrottle(Throttle):
    """Counts nothing and refuses nobody, where an operator has switched the throttle off."""

    def begin(self, email: str, origin: Origin) -> Attempt:  # noqa: ARG002
        """Let an attempt through."""
        return Attempt(keys={})

    def count(self, kind: CounterKind, origin: Origin) -> None:
        """Let it through."""

    def forget(self, attempt: Attempt) -> None:
        """Take nothing back: nothing was counted."""

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Note nothing."""

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Note nothing."""


def _let_through(weighed: Wait | dict[CounterKind, Counter], origin: Origin) -> dict[CounterKind, Counter]:
    if isinstance(weighed, Wait):
        log.warning("throttled", ip=origin.ip, seconds=round(weighed.left.total_seconds(), 1))
        raise TooManyAttempts(weighed.left)
    return weighed
