"""The counters of the throttle: what is remembered of attempts, how much is allowed, and what an attempt makes of it.

Three counters are asked before a password is checked, each with an allowance that is spent by a failure and comes back
with time:

- the account from this address block: few guesses, then pauses that double;
- the address block over all accounts, against lists of stolen passwords;
- the account from all blocks that have never logged in to it, against guesses spread over many addresses.

The last one is not asked of a block that has logged in to the account before, or has reset its password: an attacker
spends it for other strangers, never for the owner at home.
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

from core.settings.groups import ThrottleSettings

FAMILIAR = timedelta(days=90)
IPV6_BLOCK = 64  # what one customer is given; single addresses in it are free to take
FIRST_PAUSE = timedelta(seconds=1)  # when the allowance is spent; each further attempt doubles it
RECORDED_REFUSALS = 100
ZERO = timedelta(0)


class CounterKind(StrEnum):
    """What is counted."""

    ACCOUNT_FROM_BLOCK = "account_from_block"
    BLOCK = "block"
    ACCOUNT_FROM_STRANGERS = "account_from_strangers"
    SIGNUPS_FROM_BLOCK = "signups_from_block"
    MAIL_FROM_BLOCK = "mail_from_block"
    REFUSALS_FROM_BLOCK = "refusals_from_block"
    """Refusals that are put down; they slow nobody down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How much a counter allows."""

    allowance: int
    """Attempts that are free."""
    recovery: timedelta
    """After which one attempt is forgotten."""
    longest_pause: timedelta


Rules = Mapping[CounterKind, Rule]

# The recovery and the longest pause of each.
_PACES = {
    CounterKind.ACCOUNT_FROM_BLOCK: (timedelta(minutes=10), timedelta(minutes=15)),
    CounterKind.BLOCK: (timedelta(seconds=10), timedelta(minutes=1)),
    CounterKind.ACCOUNT_FROM_STRANGERS: (timedelta(minutes=10), timedelta(minutes=15)),
    CounterKind.SIGNUPS_FROM_BLOCK: (timedelta(minutes=1), timedelta(minutes=5)),
    CounterKind.MAIL_FROM_BLOCK: (timedelta(seconds=30), timedelta(minutes=5)),
    CounterKind.REFUSALS_FROM_BLOCK: (timedelta(minutes=10), timedelta(minutes=15)),
}


def rules(settings: ThrottleSettings) -> Rules:
    """How much each counter allows."""
    allowances = {
        CounterKind.ACCOUNT_FROM_BLOCK: settings.throttle_account,
        CounterKind.BLOCK: settings.throttle_block,
        CounterKind.ACCOUNT_FROM_STRANGERS: settings.throttle_strangers,
        CounterKind.SIGNUPS_FROM_BLOCK: settings.throttle_signups,
        CounterKind.MAIL_FROM_BLOCK: settings.throttle_mail,
        CounterKind.REFUSALS_FROM_BLOCK: RECORDED_REFUSALS,
    }
    return {
        kind: Rule(allowance=allowances[kind], recovery=recovery, longest_pause=longest_pause)
        for kind, (recovery, longest_pause) in _PACES.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """What is remembered of attempts under one key."""

    count: int
    at: datetime
    """When the last one was made."""
    since: datetime | None = None
    """From when on the next one is being forgotten, if not from the last attempt."""
    familiar_until: datetime | None = None
    """Until when an address block counts as the account's own."""

    def is_familiar(self, now: datetime) -> bool:
        """Whether the address block has logged in to the account."""
        return self.familiar_until is not None and now < self.familiar_until


class Counters(Protocol):
    """Port: the counters inside one unit of work."""

    def lock(self, keys: Sequence[str], *, now: datetime) -> Mapping[str, Counter]:
        """The counters under these keys, held until the unit of work ends; new ones stand at nothing."""
        ...

    def read(self, keys: Sequence[str], *, now: datetime) -> Mapping[str, Counter]:
        """The counters under these keys as they stand, kept from nobody; new ones stand at nothing."""
        ...

    def save(self, key: str, counter: Counter, *, expires_at: datetime) -> None:
        """Store a counter that is held."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` counters that say nothing any more; how many there were."""
        ...


def counter_key(secret: bytes, *parts: str) -> str:
    """Where a counter lies: hashed under a key of ours, for what people type as their address may be their password."""
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Wait:
    """An attempt comes too soon: this is left until the next one may be made."""

    left: timedelta


def decide(held: Mapping[CounterKind, Counter], rules: Rules, now: datetime) -> Wait | dict[CounterKind, Counter]:
    """What an attempt makes of the counters that it is counted in, or the longest pause that one of them asks for."""
    asked = _asked(held, now)
    pause = max(state_of(counter, rules[kind], now)[1] for kind, counter in asked.items())
    if pause > ZERO:
        return Wait(pause)
    return {kind: after_attempt(counter, rules[kind], now) for kind, counter in asked.items()}


def _asked(held: Mapping[CounterKind, Counter], now: datetime) -> Mapping[CounterKind, Counter]:
    own = held.get(CounterKind.ACCOUNT_FROM_BLOCK)
    if own is None or not own.is_familiar(now):
        return held
    return {kind: counter for kind, counter in held.items() if kind != CounterKind.ACCOUNT_FROM_STRANGERS}


def state_of(counter: Counter, rule: Rule, now: datetime) -> tuple[int, timedelta]:
    """The attempts that are still remembered, and the pause that is left before the next one.

    A clock that was set back makes a pause no longer than it was.
    """
    remembered = max(counter.count - _forgotten(counter, rule, now), 0)
    beyond = remembered - rule.allowance
    if beyond < 0:
        return remembered, ZERO
    pause = min(FIRST_PAUSE * 2 ** min(beyond, 32), rule.longest_pause)
    return remembered, max(pause - max(now - counter.at, ZERO), ZERO)


def after_attempt(counter: Counter, rule: Rule, now: datetime) -> Counter:
    """The counter with one attempt more. What was being forgotten meanwhile is not begun anew."""
    remembered, _ = state_of(counter, rule, now)
    since = (counter.since or counter.at) + rule.recovery * _forgotten(counter, rule, now) if remembered else now
    return replace(counter, count=remembered + 1, at=now, since=since)


def _forgotten(counter: Counter, rule: Rule, now: datetime) -> int:
    return max(now - (counter.since or counter.at), ZERO) // rule.recovery


def undo(counter: Counter) -> Counter:
    """The counter without its last attempt."""
    return replace(counter, count=max(counter.count - 1, 0))


def after_success(kind: CounterKind, counter: Counter, now: datetime) -> Counter:
    """What a right password makes of a counter that had counted it."""
    match kind:
        case CounterKind.ACCOUNT_FROM_BLOCK:
            return Counter(count=0, at=now, familiar_until=now + FAMILIAR)
        case CounterKind.ACCOUNT_FROM_STRANGERS:
            return Counter(count=0, at=now)
        case _:
            return undo(counter)


def expiry(counter: Counter, rule: Rule) -> datetime:
    """When a counter says nothing any more, at the latest."""
    forgotten_at = counter.at + rule.recovery * counter.count + rule.longest_pause
    return max(forgotten_at, counter.familiar_until or forgotten_at)


def block_of(ip: str) -> str:
    """The block that an address is counted with: itself, or of IPv6 the first 64 bits."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    return str(ip_network((address, IPV6_BLOCK), strict=False)) if address.version == 6 else str(address)  # noqa: PLR2004
