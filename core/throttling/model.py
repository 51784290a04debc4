"""The throttle's rate limits: counters, rules, and the decision about an attempt.

Three counters are checked before a password is. Each allows a burst of failures, refilled one at a time:

- the account from this address block: few guesses, then waits that double;
- the address block over all accounts, against lists of stolen passwords;
- the account from all blocks that have never logged in to it, against guesses spread over many addresses.

The last one does not apply to a block that has logged in to the account before, or has reset its password: an
attacker exhausts it for other strangers, never for the owner at home. An attempt that brings the token of a device
which the account knows is counted under that device alone, whatever others have spent.

Right passwords have a large allowance of their own, because each costs a hash as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Protocol

from core.clock import elapsed
from core.settings.groups import ThrottleSettings

FAMILIAR = timedelta(days=90)
IPV6_BLOCK = 64  # bits; a customer gets a whole /64 and may use any address in it
FIRST_WAIT = timedelta(seconds=1)  # after the burst; each further attempt doubles it
RECORDED_REFUSALS = 100
RIGHT_PASSWORDS = 300
# No request lives as long. An attempt whose outcome never came, because its process was killed, failed.
OUTCOME_WITHIN = timedelta(minutes=5)
ZERO = timedelta(0)


class CounterKind(StrEnum):
    """What a counter counts."""

    ACCOUNT_FROM_BLOCK = "account_from_block"
    BLOCK = "block"
    ACCOUNT_FROM_STRANGERS = "account_from_strangers"
    DEVICE = "device"
    """Attempts with the token of a device that the account knows."""
    RIGHT_PASSWORDS = "right_passwords"
    """Right passwords of an account from a block; the only counter of attempts that failures leave alone."""
    SIGNUPS_FROM_BLOCK = "signups_from_block"
    MAIL_FROM_BLOCK = "mail_from_block"
    REFUSALS_FROM_BLOCK = "refusals_from_block"
    """Refusals in the audit log: beyond the limit they are not recorded, and nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rate limit of a counter."""

    burst: int
    """Attempts before the first wait."""
    refill_interval: timedelta
    """Time after which one attempt is forgotten."""
    longest_wait: timedelta


Rules = Mapping[CounterKind, Rule]

# The refill interval and the longest wait of each counter.
_INTERVALS = {
    CounterKind.ACCOUNT_FROM_BLOCK: (timedelta(minutes=10), timedelta(minutes=15)),
    CounterKind.BLOCK: (timedelta(seconds=10), timedelta(minutes=1)),
    CounterKind.ACCOUNT_FROM_STRANGERS: (timedelta(minutes=10), timedelta(minutes=15)),
    CounterKind.DEVICE: (timedelta(minutes=10), timedelta(minutes=15)),
    CounterKind.RIGHT_PASSWORDS: (timedelta(seconds=2), timedelta(minutes=1)),
    CounterKind.SIGNUPS_FROM_BLOCK: (timedelta(minutes=1), timedelta(minutes=5)),
    CounterKind.MAIL_FROM_BLOCK: (timedelta(seconds=30), timedelta(minutes=5)),
    CounterKind.REFUSALS_FROM_BLOCK: (timedelta(minutes=10), timedelta(minutes=15)),
}


def rules(settings: ThrottleSettings) -> Rules:
    """Make the rule of each counter."""
    bursts = {
        CounterKind.ACCOUNT_FROM_BLOCK: settings.throttle_account,
        CounterKind.BLOCK: settings.throttle_block,
        CounterKind.ACCOUNT_FROM_STRANGERS: settings.throttle_strangers,
        CounterKind.DEVICE: settings.throttle_account,
        CounterKind.RIGHT_PASSWORDS: RIGHT_PASSWORDS,
        CounterKind.SIGNUPS_FROM_BLOCK: settings.throttle_signups,
        CounterKind.MAIL_FROM_BLOCK: settings.throttle_mail,
        CounterKind.REFUSALS_FROM_BLOCK: RECORDED_REFUSALS,
    }
    return {
        kind: Rule(burst=bursts[kind], refill_interval=refill_interval, longest_wait=longest_wait)
        for kind, (refill_interval, longest_wait) in _INTERVALS.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """The attempts under one key: those that failed, and those whose outcome is not known yet."""

    count: int
    """Failures, or what else is counted for good."""
    at: datetime
    """The time of the last one."""
    since: datetime | None = None
    """The start of the current refill interval; None if it is the time of the last one."""
    pending: tuple[datetime, ...] = ()
    """When the attempts under way began. Each is allowed for as if it were to fail, so that of a hundred at once only
    the burst is checked; taking one away again leaves no trace, whatever others have done meanwhile."""
    familiar_until: datetime | None = None
    """The time until which an address block counts as the account's own."""

    def is_familiar(self, now: datetime) -> bool:
        """Whether the address block has logged in to the account."""
        return self.familiar_until is not None and now < self.familiar_until


class Counters(Protocol):
    """Port: the counters inside one unit of work."""

    def lock(self, keys: Sequence[str], *, now: datetime) -> Mapping[str, Counter]:
        """Lock the counters under these keys until the unit of work ends; new ones start at zero."""
        ...

    def read(self, keys: Sequence[str], *, now: datetime) -> Mapping[str, Counter]:
        """Read the counters under these keys as they were last committed, without a lock; new ones are zero."""
        ...

    def save(self, key: str, counter: Counter, *, expires_at: datetime) -> None:
        """Store a locked counter."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired counters, except locked ones; return their number."""
        ...


def counter_key(secret: bytes, *parts: str) -> str:
    """Return the key of a counter: a keyed hash, because users sometimes type a password as their address."""
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Wait:
    """An attempt comes too soon; ``left`` is the time until the next one is allowed."""

    left: timedelta


Step = Callable[[Counter, Rule, datetime], Counter]
"""Return a counter after one more of what it counts."""


def decide(
    counters: Mapping[CounterKind, Counter], rules: Rules, now: datetime, step: Step
) -> Wait | dict[CounterKind, Counter]:
    """Return the counters after one more attempt, or the longest wait that one of them imposes."""
    applied = _applied(counters, now)
    wait = max(state_of(counter, rules[kind], now)[1] for kind, counter in applied.items())
    if wait > ZERO:
        return Wait(wait)
    return {kind: step(counter, rules[kind], now) for kind, counter in applied.items()}


def _applied(counters: Mapping[CounterKind, Counter], now: datetime) -> Mapping[CounterKind, Counter]:
    """Leave out the counter of strangers for a block that has logged in to the account."""
    own = counters.get(CounterKind.ACCOUNT_FROM_BLOCK)
    if own is None or not own.is_familiar(now):
        return counters
    return {kind: counter for kind, counter in counters.items() if kind != CounterKind.ACCOUNT_FROM_STRANGERS}


def state_of(counter: Counter, rule: Rule, now: datetime) -> tuple[int, timedelta]:
    """Return the number of attempts not yet forgotten, and the time left to wait before the next one.

    A clock that was set back does not lengthen a wait, and an attempt that a clock far ahead has counted makes none:
    refused attempts are not counted, so that nothing would ever replace its time.
    """
    settled = _settled(counter, rule, now)
    remembered = _failures(settled, rule, now) + len(settled.pending)
    beyond = remembered - rule.burst
    if beyond < 0:
        return remembered, ZERO
    wait = min(FIRST_WAIT * 2 ** min(beyond, 32), rule.longest_wait)
    rested = min(elapsed(at, now) for at in (settled.at, *settled.pending))
    return remembered, max(wait - rested, ZERO)


def begin(counter: Counter, rule: Rule, now: datetime) -> Counter:
    """Return the counter with one more attempt under way."""
    settled = _settled(counter, rule, now)
    return replace(settled, pending=(*settled.pending, now))


def add(counter: Counter, rule: Rule, now: datetime) -> Counter:
    """Return the counter with one more for good. The current refill interval goes on, it does not start again."""
    remembered, forgotten = _failures(counter, rule, now), _forgotten(counter, rule, now)
    since = (counter.since or counter.at) + rule.refill_interval * forgotten if remembered else now
    return replace(counter, count=remembered + 1, at=now, since=since)


def fail(counter: Counter, rule: Rule, now: datetime, *, begun: datetime) -> Counter:
    """Return the counter after an attempt under way has failed, unless it was given up meanwhile and has counted."""
    return add(undo(counter, begun=begun), rule, now) if begun in counter.pending else counter


def undo(counter: Counter, *, begun: datetime) -> Counter:
    """Return the counter as if an attempt under way had never begun."""
    if begun not in counter.pending:
        return counter
    at = counter.pending.index(begun)
    return replace(counter, pending=counter.pending[:at] + counter.pending[at + 1 :])


def accept(kind: CounterKind, counter: Counter, rule: Rule, now: datetime, *, begun: datetime) -> Counter:
    """Return a counter after an attempt under way turned out to be a right password; failures are not forgotten."""
    return add(counter, rule, now) if kind == CounterKind.RIGHT_PASSWORDS else undo(counter, begun=begun)


def succeed(kind: CounterKind, counter: Counter, rule: Rule, now: datetime, *, begun: datetime) -> Counter:
    """Return a counter after an attempt under way has logged in.

    Failures are forgotten for the account, but not for the block: an attacker could log in to an account of their own
    between the guesses.
    """
    accepted = accept(kind, counter, rule, now, begun=begun)
    match kind:
        case CounterKind.ACCOUNT_FROM_BLOCK:
            return trust(accepted, now)
        case CounterKind.ACCOUNT_FROM_STRANGERS | CounterKind.DEVICE:
            return replace(accepted, count=0, at=now, since=None)
        case _:
            return accepted


def trust(counter: Counter, now: datetime) -> Counter:
    """Return the counter of an account from a block that has shown to be the account's own."""
    return replace(counter, count=0, at=now, since=None, familiar_until=now + FAMILIAR)


def _settled(counter: Counter, rule: Rule, now: datetime) -> Counter:
    """Count as failures the attempts whose outcome should have come long ago."""
    for begun in counter.pending:
        if elapsed(begun, now) >= OUTCOME_WITHIN:
            counter = fail(counter, rule, min(begun, now), begun=begun)
    return counter


def _failures(counter: Counter, rule: Rule, now: datetime) -> int:
    """Return the failures not yet forgotten."""
    return max(counter.count - _forgotten(counter, rule, now), 0)


def _forgotten(counter: Counter, rule: Rule, now: datetime) -> int:
    return elapsed(counter.since or counter.at, now) // rule.refill_interval


def expiry(counter: Counter, rule: Rule) -> datetime:
    """Return the time from which a counter has no effect any more."""
    count = counter.count + len(counter.pending)
    forgotten_at = max((counter.at, *counter.pending)) + rule.refill_interval * count + rule.longest_wait
    return max(forgotten_at, counter.familiar_until or forgotten_at)


def block_of(ip: str) -> str:
    """Return the block of an address: for IPv4 the address itself, for IPv6 its first 64 bits."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    return str(ip_network((address, IPV6_BLOCK), strict=False)) if address.version == 6 else str(address)  # noqa: PLR2004
