"""The throttle: counts attempts in the database, for all processes, and refuses those that come too soon.

Guesses are slowed down, and nobody is locked out.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from core.audit.model import EventKind, event
from core.clock import Clock
from core.origin import Origin
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.throttling.counters import CounterKeys, CounterStore
from core.throttling.errors import TooManyAttempts
from core.throttling.model import (
    Counter,
    CounterKind,
    Step,
    Wait,
    accept,
    add,
    begin,
    block_of,
    decide,
    fail,
    succeed,
    trust,
    undo,
)
from core.users.addresses import canonical_or_none

log = structlog.get_logger("throttle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt to prove a password, under way until its outcome is recorded."""

    keys: CounterKeys
    at: datetime
    """When it began."""


class Throttle:
    """Counts attempts and refuses those that come too soon."""

    def __init__(self, *, store: Store, clock: Clock, counters: CounterStore) -> None:
        self._store = store
        self._clock = clock
        self._counters = counters

    def keys_of_password(self, email: str, origin: Origin) -> CounterKeys:
        """Return the counters of attempts to prove the password of an address."""
        account, block = canonical_or_none(email) or "", block_of(origin.ip)
        parts = {
            CounterKind.ACCOUNT_FROM_BLOCK: (account, block),
            CounterKind.BLOCK: (block,),
            CounterKind.ACCOUNT_FROM_STRANGERS: (account,),
            CounterKind.RIGHT_PASSWORDS: (account, block),
        }
        return {kind: self._counters.key_of(kind, *parts[kind]) for kind in parts}

    def keys_of_device(self, device_id: uuid.UUID) -> CounterKeys:
        """Return the counters of attempts that bring the token of a device."""
        kinds = (CounterKind.DEVICE, CounterKind.RIGHT_PASSWORDS)
        return {kind: self._counters.key_of(kind, str(device_id)) for kind in kinds}

    def keys_of_block(self, kind: CounterKind, origin: Origin) -> CounterKeys:
        """Return the counter of requests of a kind from an address block."""
        return {kind: self._counters.key_of(kind, block_of(origin.ip))}

    def look(self, keys: CounterKeys, origin: Origin) -> None:
        """Refuse a request that has to wait anyway, without a lock, a write or a place in a queue.

        Raises:
            TooManyAttempts: it comes too soon. It is not counted, so that waiting helps.

        """
        _allowed(self._foresee(keys), origin)

    def has_room(self, keys: CounterKeys) -> bool:
        """Whether a request would be let through, as `look` finds it."""
        return not isinstance(self._foresee(keys), Wait)

    @retried
    def _foresee(self, keys: CounterKeys) -> Wait | dict[CounterKind, Counter]:
        now = self._clock.now()
        with self._store.reading() as read:
            counters = self._counters.read(read, keys, now)
        return decide(counters, self._counters.rules, now, begin)

    @contextmanager
    def attempt(self, keys: CounterKeys, origin: Origin) -> Iterator[Attempt]:
        """Count an attempt as under way around its check, and take it back if the check raises.

        Then the password was not checked, or was right without effect; the caller learns nothing about it. After a
        check, the caller records the outcome.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        begun = self._begin(keys, origin)
        try:
            yield begun
        except BaseException:
            self.forget(begun)
            raise

    def limit(self, kind: CounterKind, origin: Origin) -> None:
        """Count a request that has a rate limit for each address block.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        keys = self.keys_of_block(kind, origin)
        self.look(keys, origin)
        self.count(keys, origin)

    @retried
    def count(self, keys: CounterKeys, origin: Origin) -> None:
        """Count a request for good, or refuse it.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        now = self._clock.now()
        with self._store.begin() as work:
            self._decide_locked(work, keys, origin, now, add)
            work.commit()

    @retried
    def _begin(self, keys: CounterKeys, origin: Origin) -> Attempt:
        """Decide again under the lock: others may have used up the burst since it was looked at."""
        now = self._clock.now()
        with self._store.begin() as work:
            counted = self._decide_locked(work, _of_failures(keys), origin, now, begin)
            work.commit()
        begun_in = {*counted, CounterKind.RIGHT_PASSWORDS}
        return Attempt(keys={kind: key for kind, key in keys.items() if kind in begun_in}, at=now)

    def _decide_locked(
        self, work: UnitOfWork, keys: CounterKeys, origin: Origin, now: datetime, step: Step
    ) -> dict[CounterKind, Counter]:
        rules = self._counters.rules
        counted = _allowed(decide(self._counters.lock(work, keys, now), rules, now, step), origin)
        self._counters.save(work, keys, counted)
        self._note_spent(work, counted, origin, now)
        return counted

    def _note_spent(
        self, work: UnitOfWork, counters: Mapping[CounterKind, Counter], origin: Origin, now: datetime
    ) -> None:
        for kind, counter in counters.items():
            if counter.at == now and counter.count == self._counters.rules[kind].burst:
                work.audit.add(event(EventKind.THROTTLED, at=now, origin=origin))

    @retried
    def forget(self, attempt: Attempt) -> None:
        """Take an attempt back: its password was not checked, or was right without effect."""
        with self._store.begin() as work:
            keys = _of_failures(attempt.keys)
            self._counters.change(work, keys, self._clock.now(), lambda _, counter: undo(counter, begun=attempt.at))
            work.commit()

    @retried
    def accept(self, attempt: Attempt) -> None:
        """Record that the password was right, and that no session starts with it."""
        now, rules = self._clock.now(), self._counters.rules
        with self._store.begin() as work:
            self._counters.change(
                work, attempt.keys, now, lambda kind, counter: accept(kind, counter, rules[kind], now, begun=attempt.at)
            )
            work.commit()

    def record_failure(self, work: UnitOfWork, attempt: Attempt, origin: Origin) -> None:
        """Record, in the unit of work that records the event, that the password was wrong."""
        now, rules, keys = self._clock.now(), self._counters.rules, _of_failures(attempt.keys)
        failed = self._counters.change(
            work, keys, now, lambda kind, counter: fail(counter, rules[kind], now, begun=attempt.at)
        )
        self._note_spent(work, failed, origin, now)

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Record, in the unit of work that starts the session, that the password was right."""
        now, rules = self._clock.now(), self._counters.rules
        self._counters.change(
            work, attempt.keys, now, lambda kind, counter: succeed(kind, counter, rules[kind], now, begun=attempt.at)
        )

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Make an address block the account's own: the owner has reset the password from there."""
        now, kind = self._clock.now(), CounterKind.ACCOUNT_FROM_BLOCK
        key = self._counters.key_of(kind, canonical_or_none(email) or "", block_of(origin.ip))
        self._counters.change(work, {kind: key}, now, lambda _, counter: trust(counter, now))

    def trusts(self, work: UnitOfWork, email: str, ip: str) -> bool:
        """Whether the block of an address has logged in to the account, or reset its password."""
        now, kind = self._clock.now(), CounterKind.ACCOUNT_FROM_BLOCK
        keys = {kind: self._counters.key_of(kind, canonical_or_none(email) or "", block_of(ip))}
        return self._counters.read(work, keys, now)[kind].is_familiar(now)


class NoThrottle(Throttle):
    """Counts nothing and refuses nothing: an operator has switched the throttle off."""

    def keys_of_password(self, email: str, origin: Origin) -> CounterKeys:  # noqa: ARG002
        """Name no counter."""
        return {}

    def keys_of_device(self, device_id: uuid.UUID) -> CounterKeys:  # noqa: ARG002
        """Name no counter."""
        return {}

    def keys_of_block(self, kind: CounterKind, origin: Origin) -> CounterKeys:  # noqa: ARG002
        """Name no counter."""
        return {}

    def has_room(self, keys: CounterKeys) -> bool:  # noqa: ARG002
        """Allow every request."""
        return True

    def look(self, keys: CounterKeys, origin: Origin) -> None:
        """Allow the request."""

    def count(self, keys: CounterKeys, origin: Origin) -> None:
        """Allow the request."""

    @contextmanager
    def attempt(self, keys: CounterKeys, origin: Origin) -> Iterator[Attempt]:  # noqa: ARG002
        """Allow the attempt."""
        yield Attempt(keys=keys, at=self._clock.now())

    def accept(self, attempt: Attempt) -> None:
        """Do nothing."""

    def record_failure(self, work: UnitOfWork, attempt: Attempt, origin: Origin) -> None:
        """Do nothing."""

    def record_success(self, work: UnitOfWork, attempt: Attempt) -> None:
        """Do nothing."""

    def trust_origin(self, work: UnitOfWork, email: str, origin: Origin) -> None:
        """Do nothing."""


def _of_failures(keys: CounterKeys) -> CounterKeys:
    """Leave out the counter that only a right password changes."""
    return {kind: key for kind, key in keys.items() if kind != CounterKind.RIGHT_PASSWORDS}


def _allowed(decision: Wait | dict[CounterKind, Counter], origin: Origin) -> dict[CounterKind, Counter]:
    if isinstance(decision, Wait):
        log.warning("throttled", ip=origin.ip, seconds=round(decision.left.total_seconds(), 1))
        raise TooManyAttempts(decision.left)
    return decision
