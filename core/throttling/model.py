"""The throttle's rate limits: counters, rules, and the decision about an attempt.

Three counters are checked before a password is. Each allows a burst of failures, refilled one at a time:

- the account from this address block: few guesses, then waits that double;
- the address block over all accounts, against lists of stolen passwords;
- the account from all blocks that have never logged in to it, against guesses spread over many addresses.

The last one does not apply to a block that has logged in to the account before, or has reset its password: an
attacker exhausts it for other strangers, never for the owner at home.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
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
ZERO = timedelta(0)


class CounterKind(StrEnum):
    """What a counter counts."""

    ACCOUNT_FROM_BLOCK = "account_from_block"
    BLOCK = "block"
    ACCOUNT_FROM_STRANGERS = "account_from_strangers"
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
    """The attempts under one key."""

    count: int
    at: datetime
    """The time of the last attempt."""
    since: datetime | None = None
    """The start of the current refill interval; None if it is the last attempt."""
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


def decide(counters: Mapping[CounterKind, Counter], rules: Rules, now: datetime) -> Wait | dict[CounterKind, Counter]:
    """Return the counters after an attempt, or the longest wait that one of them imposes."""
    applied = _applied(counters, now)
    wait = max(state_of(counter, rules[kind], now)[1] for kind, counter in applied.items())
    if wait > ZERO:
        return Wait(wait)
    return {kind: after_attempt(counter, rules[kind], now) for kind, counter in applied.items()}


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
    remembered = max(counter.count - _forgotten(counter, rule, now), 0)
    beyond = remembered - rule.burst
    if beyond < 0:
        return remembered, ZERO
    wait = min(FIRST_WAIT * 2 ** min(beyond, 32), rule.longest_wait)
    return remembered, max(wait - elapsed(counter.at, now), ZERO)


def after_attempt(counter: Counter, rule: Rule, now: datetime) -> Counter:
    """Return the counter with one more attempt. The current refill interval goes on, it does not start again."""
    remembered, _ = state_of(counter, rule, now)
    forgotten = _forgotten(counter, rule, now)
    since = (counter.since or counter.at) + rule.refill_interval * forgotten if remembered else now
    return replace(counter, count=remembered + 1, at=now, since=since)


def _forgotten(counter: Counter, rule: Rule, now: datetime) -> int:
    return elapsed(counter.since or counter.at, now) // rule.refill_interval


def undo(counter: Counter) -> Counter:
    """Return the counter without its last attempt."""
    return replace(counter, count=max(counter.count - 1, 0))


def after_success(kind: CounterKind, counter: Counter, now: datetime) -> Counter:
    """Return a counter after an attempt that it had counted turned out to be a right password."""
    match kind:
        case CounterKind.ACCOUNT_FROM_BLOCK:
            return Counter(count=0, at=now, familiar_until=now + FAMILIAR)
        case CounterKind.ACCOUNT_FROM_STRANGERS:
            return Counter(count=0, at=now)
        case _:
            return undo(counter)


def expiry(counter: Counter, rule: Rule) -> datetime:
    """Return the time from which a counter has no effect any more."""
    forgotten_at = counter.at + rule.refill_interval * counter.count + rule.longest_wait
    return max(forgotten_at, counter.familiar_until or forgotten_at)


def block_of(ip: str) -> str:
    """Return the block of an address: for IPv4 the address itself, for IPv6 its first 64 bits."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    return str(ip_network((address, IPV6_BLOCK), strict=False)) if address.version == 6 else str(address)  # noqa: PLR2004
