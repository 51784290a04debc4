"""The throttle: counts attempts where every process sees them, and says how long to wait before the next one.

Who guesses is slowed down, and nobody is locked out. Three counters are asked before a password is checked, each with
an allowance that is spent by a failure and comes back with time:

- the account from this address block: few guesses, then pauses that double;
- the address block over all accounts, against lists of stolen passwords;
- the account from all blocks that have never logged in to it, against guesses spread over many addresses.

The last one is not asked of a block that has logged in to the account before, or has reset its password: an attacker
spends it for other strangers, never for the owner at home.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Protocol

import structlog

from core.audit import EventKind, event
from core.clock import Clock
from core.emails import canonical_or_none
from core.errors import TooManyAttempts
from core.retries import retried
from core.settings import ThrottleSettings

if TYPE_CHECKING:
    from core.audit import Client
    from core.store import Store, UnitOfWork

FAMILIAR = timedelta(days=90)
IPV6_BLOCK = 64  # what one customer is given; single addresses in it are free to take
FIRST_PAUSE = timedelta(seconds=1)  # when the allowance is spent; each further attempt doubles it
RECORDED_REFUSALS = 100
ZERO = timedelta(0)

log = structlog.get_logger("throttle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How much a counter allows."""

    allowance: int
    """Attempts that are free."""
    recovery: timedelta
    """After which one attempt is forgotten."""
    longest_pause: timedelta


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


def standing(counter: Counter, rule: Rule, now: datetime) -> tuple[int, timedelta]:
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
    remembered, _ = standing(counter, rule, now)
    since = (counter.since or counter.at) + rule.recovery * _forgotten(counter, rule, now) if remembered else now
    return replace(counter, count=remembered + 1, at=now, since=since)


def _forgotten(counter: Counter, rule: Rule, now: datetime) -> int:
    return max(now - (counter.since or counter.at), ZERO) // rule.recovery


class CounterKind(StrEnum):
    """What is counted."""

    ACCOUNT_FROM_BLOCK = "account_from_block"
    BLOCK = "block"
    ACCOUNT_FROM_STRANGERS = "account_from_strangers"
    SIGNUPS_FROM_BLOCK = "signups_from_block"
    MAIL_FROM_BLOCK = "mail_from_block"
    REFUSALS_FROM_BLOCK = "refusals_from_block"
    """Refusals that are put down; they slow nobody down."""


class Counters(Protocol):
    """Port: the counters inside one unit of work."""

    def hold(self, keys: Sequence[str], *, now: datetime) -> Mapping[str, Counter]:
        """The counters under these keys, held until the unit of work ends; new ones stand at nothing."""
        ...

    def put(self, key: str, counter: Counter, *, expires_at: datetime) -> None:
        """Store a counter that is held."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` counters that say nothing any more; how many there were."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was counted before its outcome is known: of a hundred at once, the allowance is let through."""

    keys: Mapping[CounterKind, str]


class Throttle:
    """Counts attempts and refuses those that come too soon."""

    def __init__(self, *, store: Store, clock: Clock, key: bytes, settings: ThrottleSettings) -> None:
        self._store = store
        self._clock = clock
        self._key = key
        self._is_on = settings.throttle
        self._rules = rules(settings)

    def begin(self, email: str, client: Client) -> Attempt | None:
        """Count an attempt to prove a password, before it is checked; None where nothing is counted.

        Raises:
            TooManyAttempts: it comes too soon. That is not counted, so that waiting helps.

        """
        if not self._is_on:
            return None
        account, block = canonical_or_none(email) or "", block_of(client.ip)
        keys = {
            CounterKind.ACCOUNT_FROM_BLOCK: self._key_of(CounterKind.ACCOUNT_FROM_BLOCK, account, block),
            CounterKind.BLOCK: self._key_of(CounterKind.BLOCK, block),
            CounterKind.ACCOUNT_FROM_STRANGERS: self._key_of(CounterKind.ACCOUNT_FROM_STRANGERS, account),
        }
        return self._count(keys, client)

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
            self._count({kind: self._key_of(kind, block_of(client.ip))}, client)

    @retried
    def record(self, kind: EventKind, client: Client, *, subject: str | None = None) -> None:
        """Put a refusal down that costs whoever causes it next to nothing: so many of an address block.

        What is beyond stands in the access log alone, and the audit log does not grow with a flood.
        """
        now, refusals = self._clock.now(), CounterKind.REFUSALS_FROM_BLOCK
        key, rule = self._key_of(refusals, block_of(client.ip)), self._rules[refusals]
        with self._store.begin() as work:
            counter = self._hold(work, {refusals: key}, now)[refusals]
            if standing(counter, rule, now)[1] > ZERO:
                return
            self._put(work, refusals, key, after_attempt(counter, rule, now))
            work.audit.add(event(kind, at=now, client=client, subject=subject))
            work.commit()

    @retried
    def _count(self, keys: dict[CounterKind, str], client: Client) -> Attempt:
        now = self._clock.now()
        with self._store.begin() as work:
            held = self._hold(work, keys, now)
            own = held.get(CounterKind.ACCOUNT_FROM_BLOCK)
            if own is not None and own.is_familiar(now):
                del held[CounterKind.ACCOUNT_FROM_STRANGERS]
            standings = {kind: standing(counter, self._rules[kind], now) for kind, counter in held.items()}
            pause = max(left for _, left in standings.values())
            if pause > ZERO:
                log.warning("throttled", ip=client.ip, seconds=round(pause.total_seconds(), 1))
                raise TooManyAttempts(pause)
            for kind, counter in held.items():
                counted = after_attempt(counter, self._rules[kind], now)
                self._put(work, kind, keys[kind], counted)
                if counted.count == self._rules[kind].allowance:
                    work.audit.add(event(EventKind.THROTTLED, at=now, client=client))
            work.commit()
        return Attempt(keys={kind: keys[kind] for kind in held})

    @retried
    def forget(self, attempt: Attempt | None) -> None:
        """Take an attempt back: its password was never checked, or was right and led nowhere."""
        if attempt is None:
            return
        with self._store.begin() as work:
            for kind, counter in self._hold(work, attempt.keys, self._clock.now()).items():
                self._put(work, kind, attempt.keys[kind], taken_back(counter))
            work.commit()

    def succeed(self, work: UnitOfWork, attempt: Attempt | None) -> None:
        """Note, in the unit of work that lets somebody in, that the password was right.

        The failures before it are forgotten for the account. Not for the block: an attacker could log in to an account
        of his own between the guesses.
        """
        if attempt is None:
            return
        now = self._clock.now()
        for kind, counter in self._hold(work, attempt.keys, now).items():
            self._put(work, kind, attempt.keys[kind], after_success(kind, counter, now))

    def welcome(self, work: UnitOfWork, email: str, client: Client) -> None:
        """Make an address block the account's own: its owner has reset the password from there."""
        if not self._is_on:
            return
        now, kind = self._clock.now(), CounterKind.ACCOUNT_FROM_BLOCK
        key = self._key_of(kind, canonical_or_none(email) or "", block_of(client.ip))
        for counter in self._hold(work, {kind: key}, now).values():
            self._put(work, kind, key, after_success(kind, counter, now))

    def _hold(self, work: UnitOfWork, keys: Mapping[CounterKind, str], now: datetime) -> dict[CounterKind, Counter]:
        # In one order for everybody, so that two attempts never wait for each other.
        held = work.counters.hold(sorted(keys.values()), now=now)
        return {kind: held[key] for kind, key in keys.items()}

    def _put(self, work: UnitOfWork, kind: CounterKind, key: str, counter: Counter) -> None:
        rule = self._rules[kind]
        forgotten_at = counter.at + rule.recovery * counter.count + rule.longest_pause  # at the latest
        work.counters.put(key, counter, expires_at=max(forgotten_at, counter.familiar_until or forgotten_at))

    def _key_of(self, kind: CounterKind, *parts: str) -> str:
        """Hashed under a key of ours: what people type as their address may be their password."""
        return hmac.new(self._key, "\n".join((kind.value, *parts)).encode(), hashlib.sha256).hexdigest()


def rules(settings: ThrottleSettings) -> Mapping[CounterKind, Rule]:
    """How much each counter allows."""
    return {
        CounterKind.ACCOUNT_FROM_BLOCK: Rule(
            allowance=settings.throttle_account,
            recovery=timedelta(minutes=10),
            longest_pause=timedelta(minutes=15),
        ),
        CounterKind.BLOCK: Rule(
            allowance=settings.throttle_block,
            recovery=timedelta(seconds=10),
            longest_pause=timedelta(minutes=1),
        ),
        CounterKind.ACCOUNT_FROM_STRANGERS: Rule(
            allowance=settings.throttle_strangers,
            recovery=timedelta(minutes=10),
            longest_pause=timedelta(minutes=15),
        ),
        CounterKind.SIGNUPS_FROM_BLOCK: Rule(
            allowance=settings.throttle_signups,
            recovery=timedelta(minutes=1),
            longest_pause=timedelta(minutes=5),
        ),
        CounterKind.MAIL_FROM_BLOCK: Rule(
            allowance=settings.throttle_mail,
            recovery=timedelta(seconds=30),
            longest_pause=timedelta(minutes=5),
        ),
        CounterKind.REFUSALS_FROM_BLOCK: Rule(
            allowance=RECORDED_REFUSALS,
            recovery=timedelta(minutes=10),
            longest_pause=timedelta(minutes=15),
        ),
    }


def taken_back(counter: Counter) -> Counter:
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
            return taken_back(counter)


def block_of(ip: str) -> str:
    """The block that an address is counted with: itself, or of IPv6 the first 64 bits."""
    try:
        address = ip_address(ip)
    except ValueError:
        return ""
    return str(ip_network((address, IPV6_BLOCK), strict=False)) if address.version == 6 else str(address)  # noqa: PLR2004
