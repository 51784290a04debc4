"""The throttle: counts attempts where every process sees them, and says how long to wait before the next one.

Who guesses is slowed down, and nobody is locked out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from core.audit import EventKind, event
from core.clock import Clock
from core.counters import Counter, CounterKind, Pause, after_success, block_of, taken_back, weigh
from core.emails import canonical_or_none
from core.errors import TooManyAttempts
from core.retries import retried

if TYPE_CHECKING:
    from core.audit import Client
    from core.store import Store, UnitOfWork
    from core.tally import CounterKeys, Tally

log = structlog.get_logger("throttle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was counted before its outcome is known: of a hundred at once, the allowance is let through."""

    keys: Mapping[CounterKind, str]


class Throttle:
    """Counts attempts and refuses those that come too soon."""

    def __init__(self, *, store: Store, clock: Clock, tally: Tally, is_on: bool) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally
        self._is_on = is_on

    def begin(self, email: str, client: Client) -> Attempt | None:
        """Count an attempt to prove a password, before it is checked; None where nothing is counted.

        Raises:
            TooManyAttempts: it comes too soon. That is not counted, so that waiting helps.

        """
        if not self._is_on:
            return None
        account, block = canonical_or_none(email) or "", block_of(client.ip)
        parts = {
            CounterKind.ACCOUNT_FROM_BLOCK: (account, block),
            CounterKind.BLOCK: (block,),
            CounterKind.ACCOUNT_FROM_STRANGERS: (account,),
        }
        return self._count({kind: self._tally.key_of(kind, *parts[kind]) for kind in parts}, client)

    @contextmanager
    def attempt(self, email: str, client: Client) -> Iterator[Attempt | None]:
        """Count an attempt around its check, and take it back where that gives no answer.

        It was not looked at then, or it was right and led nowhere; whoever asked was told nothing of it.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        begun = self.begin(email, client)
        try:
            yield begun
        except BaseException:
            self.forget(begun)
            raise

    def count(self, kind: CounterKind, client: Client) -> None:
        """Count what an address block may do only so often.

        Raises:
            TooManyAttempts: it comes too soon.

        """
        if self._is_on:
            self._count({kind: self._tally.key_of(kind, block_of(client.ip))}, client)

    def _count(self, keys: CounterKeys, client: Client) -> Attempt:
        self._look(keys, client)
        return self._hold(keys, client)

    @retried
    def _look(self, keys: CounterKeys, client: Client) -> None:
        """Refuse who has to wait anyway, without a lock and without a write."""
        now = self._clock.now()
        with self._store.reading() as read:
            seen = self._tally.look(read, keys, now)
        _let_through(weigh(seen, self._tally.rules, now), client)

    @retried
    def _hold(self, keys: CounterKeys, client: Client) -> Attempt:
        """Count an attempt, or refuse it: others may have spent the allowance that it saw. This is what decides."""
        now = self._clock.now()
        with self._store.begin() as work:
            counted = _let_through(weigh(self._tally.hold(work, keys, now), self._tally.rules, now), client)
            self._tally.put(work, keys, counted)
            for kind, counter in counted.items():
                if counter.count == self._tally.rules[kind].allowance:
                    work.audit.add(event(EventKind.THROTTLED, at=now, client=client))
            work.commit()
        return Attempt(keys={kind: keys[kind] for kind in counted})

    @retried
    def forget(self, attempt: Attempt | None) -> None:
        """Take an attempt back: its password was never checked, or was right and led nowhere."""
        if attempt is None:
            return
        with self._store.begin() as work:
            self._tally.change(work, attempt.keys, self._clock.now(), lambda _, counter: taken_back(counter))
            work.commit()

    def succeed(self, work: UnitOfWork, attempt: Attempt | None) -> None:
        """Note, in the unit of work that lets somebody in, that the password was right.

        The failures before it are forgotten for the account. Not for the block: an attacker could log in to an account
        of his own between the guesses.
        """
        if attempt is not None:
            self._note_success(work, attempt.keys)

    def welcome(self, work: UnitOfWork, email: str, client: Client) -> None:
        """Make an address block the account's own: its owner has reset the password from there."""
        if not self._is_on:
            return
        kind = CounterKind.ACCOUNT_FROM_BLOCK
        key = self._tally.key_of(kind, canonical_or_none(email) or "", block_of(client.ip))
        self._note_success(work, {kind: key})

    def _note_success(self, work: UnitOfWork, keys: CounterKeys) -> None:
        now = self._clock.now()
        self._tally.change(work, keys, now, partial(after_success, now=now))


def _let_through(weighed: Pause | dict[CounterKind, Counter], client: Client) -> dict[CounterKind, Counter]:
    if isinstance(weighed, Pause):
        log.warning("throttled", ip=client.ip, seconds=round(weighed.left.total_seconds(), 1))
        raise TooManyAttempts(weighed.left)
    return weighed
