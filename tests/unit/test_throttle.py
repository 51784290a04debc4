"""The arithmetic of the throttle: allowances, pauses, recovery, and which addresses count as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.app import build_clients
from core.audit.model import AuditEvent, EventKind
from core.http.edge.client_address import client_address
from core.origin import Origin
from core.settings.groups import ThrottleSettings
from core.throttling.counters import CounterStore
from core.throttling.errors import TooManyAttempts
from core.throttling.model import (
    FAMILIAR,
    RECORDED_REFUSALS,
    RIGHT_PASSWORDS,
    Counter,
    CounterKind,
    Rule,
    Wait,
    add,
    begin,
    block_of,
    decide,
    fail,
    rules,
    state_of,
    succeed,
    undo,
)
from core.throttling.throttle import Attempt, NoThrottle, Throttle
from tests.support.clock import START, FakeClock
from tests.support.settings import make_settings

RULE = Rule(burst=5, refill_interval=timedelta(minutes=10), longest_wait=timedelta(minutes=15))
KEY = b"k" * 32
ROOT = Path(__file__).parents[2]


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)


# What is remembered, and the pause


@pytest.mark.parametrize(
    ("count", "pause"),
    [(0, 0), (1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (9, 16), (14, 512), (15, 900), (16, 900), (40, 900)],
)
def test_pauses_begin_when_the_allowance_is_spent_and_double_up_to_the_longest(count: int, pause: float) -> None:
    assert state_of(Counter(count=count, at=START), RULE, START) == (count, seconds(pause))


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [
        (0, (8, 8)),
        (1, (8, 7)),
        (7.5, (8, 0.5)),
        (8, (8, 0)),
        (599.9, (8, 0)),
        (600, (7, 0)),
        (1200, (6, 0)),
        (4799.9, (1, 0)),
        (4800, (0, 0)),
        (10**9, (0, 0)),
    ],
)
def test_a_pause_runs_down_and_attempts_are_forgotten_one_by_one(elapsed: float, expected: tuple[int, float]) -> None:
    remembered, pause = state_of(Counter(count=8, at=START), RULE, START + seconds(elapsed))
    assert (remembered, pause.total_seconds()) == expected


def test_a_pause_longer_than_the_recovery_gets_shorter_with_what_is_forgotten() -> None:
    """After 600 s of a pause of 900 s, one attempt fewer is remembered: its pause is over."""
    counter = Counter(count=15, at=START)
    assert state_of(counter, RULE, START + seconds(599)) == (15, seconds(301))
    assert state_of(counter, RULE, START + seconds(600)) == (14, seconds(0))


@pytest.mark.parametrize("back", [1, 300])
def test_a_clock_that_was_set_back_makes_a_pause_no_longer(back: int) -> None:
    assert state_of(Counter(count=7, at=START), RULE, START - seconds(back)) == (7, seconds(4))


@pytest.mark.parametrize("back", [300.001, 10**8])
def test_what_a_clock_far_ahead_has_counted_holds_nobody_back(back: float) -> None:
    """Refused attempts are not counted: each would find the whole wait before it until that time comes."""
    counter = Counter(count=40, at=START, since=START)
    now = START - seconds(back)
    assert state_of(counter, RULE, now) == (0, seconds(0))
    assert add(counter, RULE, now) == Counter(count=1, at=now, since=now)


@pytest.mark.parametrize("count", [10**4, 10**6, 2**31 - 1])
def test_a_huge_count_costs_the_longest_pause_and_no_overflow(count: int) -> None:
    assert state_of(Counter(count=count, at=START), RULE, START) == (count, RULE.longest_wait)


def test_an_allowance_of_one_pauses_after_the_first_attempt() -> None:
    once = Rule(burst=1, refill_interval=seconds(10), longest_wait=seconds(60))
    assert state_of(Counter(count=0, at=START), once, START) == (0, seconds(0))
    assert state_of(Counter(count=1, at=START), once, START) == (1, seconds(1))


@given(
    count=st.integers(0, 2**31 - 1),
    elapsed=st.timedeltas(timedelta(days=-400), timedelta(days=400)),
    allowance=st.integers(1, 1000),
    recovery=st.integers(1, 3600),
    longest=st.integers(1, 3600),
)
def test_no_pause_exceeds_the_longest_and_none_is_left_when_all_is_forgotten(
    count: int, elapsed: timedelta, allowance: int, recovery: int, longest: int
) -> None:
    rule = Rule(burst=allowance, refill_interval=seconds(recovery), longest_wait=seconds(longest))
    remembered, pause = state_of(Counter(count=count, at=START), rule, START + elapsed)
    assert 0 <= remembered <= count
    assert timedelta(0) <= pause <= rule.longest_wait
    assert pause == timedelta(0) or remembered >= allowance
    later, shorter = state_of(Counter(count=count, at=START), rule, START + elapsed + seconds(1))
    assert later <= remembered
    assert shorter <= pause


# What an attempt makes of its counters

RULES = rules(ThrottleSettings(throttle_account=5, throttle_block=100, throttle_strangers=100))
FRESH = Counter(count=0, at=START)
SPENT = Counter(count=100, at=START)  # a pause of a second where a hundred are free
HOME_BLOCK = Counter(count=0, at=START, familiar_until=START + seconds(1))
OWN, BLOCK, STRANGERS = CounterKind.ACCOUNT_FROM_BLOCK, CounterKind.BLOCK, CounterKind.ACCOUNT_FROM_STRANGERS


@pytest.mark.parametrize(
    ("held", "counted"),
    [
        ({OWN: FRESH, BLOCK: FRESH, STRANGERS: FRESH}, {OWN: 1, BLOCK: 1, STRANGERS: 1}),
        ({OWN: Counter(count=4, at=START), BLOCK: FRESH, STRANGERS: FRESH}, {OWN: 5, BLOCK: 1, STRANGERS: 1}),
        ({OWN: HOME_BLOCK, BLOCK: FRESH, STRANGERS: FRESH}, {OWN: 1, BLOCK: 1}),
        ({OWN: HOME_BLOCK, BLOCK: FRESH, STRANGERS: SPENT}, {OWN: 1, BLOCK: 1}),
        ({CounterKind.MAIL_FROM_BLOCK: FRESH}, {CounterKind.MAIL_FROM_BLOCK: 1}),
    ],
    ids=["first", "last that is free", "at home", "at home among guessing strangers", "of another kind"],
)
def test_an_attempt_is_counted_everywhere_but_by_the_strangers_at_home(
    held: dict[CounterKind, Counter], counted: dict[CounterKind, int]
) -> None:
    decided = decide(held, RULES, START, add)
    assert isinstance(decided, dict)
    assert {kind: counter.count for kind, counter in decided.items()} == counted
    assert decided == {kind: add(held[kind], RULES[kind], START) for kind in counted}


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ({OWN: Counter(count=7, at=START), BLOCK: FRESH, STRANGERS: FRESH}, 4),
        ({OWN: FRESH, BLOCK: FRESH, STRANGERS: SPENT}, 1),
        ({OWN: HOME_BLOCK, BLOCK: SPENT, STRANGERS: FRESH}, 1),
        ({OWN: Counter(count=7, at=START), BLOCK: SPENT, STRANGERS: SPENT}, 4),
        ({OWN: Counter(count=0, at=START, familiar_until=START), BLOCK: FRESH, STRANGERS: SPENT}, 1),
    ],
    ids=["of the account", "of strangers", "of the block", "the longest of them", "at home no more"],
)
def test_an_attempt_waits_for_the_longest_pause_that_a_counter_asks_for(
    held: dict[CounterKind, Counter], left: float
) -> None:
    assert decide(held, RULES, START, begin) == Wait(seconds(left))


# Attempts under way


def under_way(counter: Counter, at: datetime = START) -> Counter:
    return begin(counter, RULE, at)


def test_an_attempt_under_way_is_allowed_for_as_if_it_were_to_fail() -> None:
    counter = FRESH
    for _ in range(5):
        assert state_of(counter, RULE, START)[1] == seconds(0)
        counter = under_way(counter)
    assert state_of(counter, RULE, START) == (5, seconds(1))
    assert counter.count == 0


@given(
    count=st.integers(0, 12),
    age=st.integers(0, 4000),
    others=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["fails", "is taken back"])), max_size=4),
    begun=st.integers(0, 60),
    look=st.integers(60, 900),
    data=st.data(),
)
def test_an_attempt_that_is_taken_back_leaves_no_trace_whatever_others_do_meanwhile(
    count: int, age: int, others: list[tuple[int, str]], begun: int, look: int, data: st.DataObject
) -> None:
    """A right password must not begin the pauses of everybody else in its block anew."""
    before = Counter(count=count, at=START - seconds(age), since=START - seconds(2 * age))
    moves = [(at, 0, how) for at, how in others]
    ends = data.draw(st.permutations([*moves, (begun, 1, "is taken back")]))

    def played(attempts: list[tuple[int, int, str]]) -> Counter:
        counter = before
        for at, _, _ in sorted(attempts):
            counter = under_way(counter, START + seconds(at))
        for at, _, how in [end for end in ends if end in attempts]:
            moment = START + seconds(at)
            counter = (
                undo(counter, begun=moment) if how == "is taken back" else fail(counter, RULE, LATER, begun=moment)
            )
        return counter

    later = START + seconds(look)
    assert state_of(played(ends), RULE, later) == state_of(played(moves), RULE, later)


LATER = START + seconds(60)


def test_an_attempt_whose_outcome_never_comes_has_failed_when_it_began() -> None:
    counter = under_way(under_way(Counter(count=6, at=START)), START + seconds(1))
    assert state_of(counter, RULE, START + seconds(299)) == (8, seconds(0))
    settled = under_way(counter, START + seconds(301))
    assert (settled.count, settled.at, settled.pending) == (8, START + seconds(1), (START + seconds(301),))


def test_an_outcome_that_comes_too_late_changes_nothing() -> None:
    counter = under_way(under_way(FRESH), START + seconds(301))
    assert counter.count == 1
    assert undo(counter, begun=START) == counter == fail(counter, RULE, START + seconds(302), begun=START)


# What a right password makes of a counter


@pytest.mark.parametrize("count", [0, 5, 99])
def test_success_forgets_the_failures_for_the_account_and_makes_the_block_its_own(count: int) -> None:
    before = under_way(Counter(count=count, at=START - seconds(3)), START)
    after = succeed(CounterKind.ACCOUNT_FROM_BLOCK, before, RULE, START, begun=START)
    assert after == Counter(count=0, at=START, familiar_until=START + FAMILIAR)


@pytest.mark.parametrize("kind", [CounterKind.ACCOUNT_FROM_STRANGERS, CounterKind.DEVICE])
def test_success_forgets_the_failures_of_strangers_and_of_the_device(kind: CounterKind) -> None:
    before = under_way(Counter(count=6, at=START - seconds(30)))
    assert succeed(kind, before, RULE, START, begun=START) == Counter(count=0, at=START)


@pytest.mark.parametrize("count", [6, 0])
def test_success_takes_back_its_own_attempt_from_the_block_and_no_other(count: int) -> None:
    before = Counter(count=count, at=START - seconds(30), pending=(START - seconds(1),))
    assert succeed(CounterKind.BLOCK, under_way(before), RULE, START, begun=START) == before


def test_success_leaves_other_attempts_under_way() -> None:
    before = under_way(under_way(FRESH), START + seconds(1))
    after = succeed(CounterKind.ACCOUNT_FROM_BLOCK, before, RULE, START + seconds(2), begun=START)
    assert (after.count, after.pending) == (0, (START + seconds(1),))


def test_success_is_counted_by_the_counter_of_right_passwords_alone() -> None:
    kind = CounterKind.RIGHT_PASSWORDS
    assert succeed(kind, Counter(count=2, at=START), RULE, START, begun=START).count == 3


@pytest.mark.parametrize(("days", "is_familiar"), [(0, True), (89.99, True), (90, False), (100, False)])
def test_a_block_is_the_accounts_own_for_ninety_days(days: float, *, is_familiar: bool) -> None:
    counter = succeed(CounterKind.ACCOUNT_FROM_BLOCK, FRESH, RULE, START, begun=START)
    assert counter.is_familiar(START + timedelta(days=days)) is is_familiar


def test_a_block_that_never_logged_in_is_not_familiar() -> None:
    assert not Counter(count=0, at=START).is_familiar(START)


# Blocks


@pytest.mark.parametrize(
    ("ip", "block"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.8", "203.0.113.8"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:0db8:0000:0001:0000:0000:0000:0009", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unknown", ""),
        ("203.0.113.7:4711", ""),
        ("203.0.113.07", ""),
        ("203.0.113.7\n", ""),
    ],
)
def test_an_address_is_its_own_block_and_of_ipv6_the_first_64_bits_are(ip: str, block: str) -> None:
    assert block_of(ip) == block


@pytest.mark.parametrize(
    ("peer", "block"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::/64"),
        ("fe80::1%eth0", ""),
        ("", ""),
    ],
)
def test_an_ipv4_client_of_an_ipv6_socket_counts_by_its_ipv4_address(peer: str, block: str) -> None:
    assert block_of(client_address(peer, None, ())) == block


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_whatever_the_last_64_bits_are_the_block_is_the_same(address: Any, last: int) -> None:
    neighbour = type(address)((int(address) >> 64 << 64) | last)
    assert block_of(str(address)) == block_of(str(neighbour)) != ""


@given(st.text(max_size=60))
def test_no_text_makes_the_block_raise(text: str) -> None:
    assert isinstance(block_of(text), str)


# The rules


def test_every_counter_has_a_rule_and_the_settings_say_how_much_is_free() -> None:
    found = rules(
        ThrottleSettings(
            throttle_account=1, throttle_block=2, throttle_strangers=3, throttle_signups=4, throttle_mail=5
        )
    )
    assert set(found) == set(CounterKind)
    assert {kind: rule.burst for kind, rule in found.items()} == {
        CounterKind.ACCOUNT_FROM_BLOCK: 1,
        CounterKind.BLOCK: 2,
        CounterKind.ACCOUNT_FROM_STRANGERS: 3,
        CounterKind.DEVICE: 1,
        CounterKind.RIGHT_PASSWORDS: RIGHT_PASSWORDS,
        CounterKind.SIGNUPS_FROM_BLOCK: 4,
        CounterKind.MAIL_FROM_BLOCK: 5,
        CounterKind.REFUSALS_FROM_BLOCK: RECORDED_REFUSALS,
    }


# The kind, its setting, and the seconds in which the setting's description promises one attempt back.
RECOVERIES = [
    (CounterKind.ACCOUNT_FROM_BLOCK, "throttle_account", 600),
    (CounterKind.BLOCK, "throttle_block", 10),
    (CounterKind.ACCOUNT_FROM_STRANGERS, "throttle_strangers", 600),
    (CounterKind.SIGNUPS_FROM_BLOCK, "throttle_signups", 60),
    (CounterKind.MAIL_FROM_BLOCK, "throttle_mail", 30),
]


@pytest.mark.parametrize(("kind", "setting", "promised"), RECOVERIES)
def test_one_attempt_comes_back_in_the_seconds_that_the_setting_promises(
    kind: CounterKind, setting: str, promised: int
) -> None:
    assert rules(ThrottleSettings())[kind].refill_interval == seconds(promised)
    assert f"one back in {promised} s" in (ThrottleSettings.model_fields[setting].description or "")


RATES = {
    "account from an address block": CounterKind.ACCOUNT_FROM_BLOCK,
    "address block, all accounts": CounterKind.BLOCK,
    "account from blocks that never logged in to it": CounterKind.ACCOUNT_FROM_STRANGERS,
    "account from a device that it knows": CounterKind.DEVICE,
}


def guesses(rule: Rule, within: timedelta) -> int:
    """How many a caller gets who begins with nothing spent and waits for every pause."""
    now, counter, found = START, FRESH, 0
    while now < START + within:
        _, pause = state_of(counter, rule, now)
        if pause:
            now += pause
            continue
        counter = fail(begin(counter, rule, now), rule, now, begun=now)
        found += 1
    return found


def test_the_rates_of_the_settings_as_they_are_stand_in_the_decision() -> None:
    text = next((ROOT / "docs/decisions").glob("0009-*.md")).read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    found = {row[0]: (int(row[1]), int(row[4]), int(row[5])) for row in rows if row[0] in RATES}
    assert found == {
        name: (rule.burst, guesses(rule, timedelta(hours=1)), guesses(rule, timedelta(days=1)))
        for name, kind in RATES.items()
        for rule in [rules(ThrottleSettings())[kind]]
    }


# The throttle, over counters and events that stand in memory; tests/storage/test_counters.py asks the databases


class Memory:
    """The two ports of a store that the throttle uses. What is not committed is undone."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter] = {}
        self.events: list[AuditEvent] = []

    @contextmanager
    def begin(self, _account: object = None, *, turn_within: timedelta | None = None) -> Iterator[Any]:  # noqa: ARG002
        work = SimpleNamespace(counters=MemoryCounters(dict(self.counters)), audit=MemoryAudit(list(self.events)))

        def commit() -> None:
            self.counters, self.events = dict(work.counters.kept), list(work.audit.kept)

        work.commit = commit
        yield work

    reading = begin


class MemoryCounters:
    def __init__(self, kept: dict[str, Counter]) -> None:
        self.kept = kept

    def lock(self, keys: Iterable[str], *, now: datetime) -> dict[str, Counter]:
        return {key: self.kept.get(key, Counter(count=0, at=now)) for key in keys}

    read = lock

    def save(self, key: str, counter: Counter, **_expiry: datetime) -> None:
        self.kept[key] = counter


class MemoryAudit:
    def __init__(self, kept: list[AuditEvent]) -> None:
        self.kept = kept

    def add(self, event: AuditEvent) -> None:
        self.kept.append(event)


def counting(**settings: Any) -> tuple[Throttle, FakeClock, Memory]:
    store, clock = Memory(), FakeClock()
    return throttling(store, clock, **settings), clock, store


def throttling(store: Any, clock: FakeClock, key: bytes = KEY, **settings: Any) -> Throttle:
    found = ThrottleSettings(**settings)
    kind = Throttle if found.throttle else NoThrottle
    return kind(store=store, clock=clock, counters=CounterStore(key=key, rules=rules(found)))


HOME = Origin(ip="203.0.113.7")


def refusal(throttle: Throttle, email: str = "ann@example.com", origin: Origin = HOME) -> int | None:
    """Fail once: the seconds of the pause where the attempt was refused."""
    keys = throttle.keys_of_password(email, origin)
    try:
        throttle.look(keys, origin)
        with throttle.attempt(keys, origin) as attempt:
            pass
    except TooManyAttempts as error:
        return error.retry_after
    with throttle._store.begin() as work:
        throttle.record_failure(work, attempt, origin)
        work.commit()
    return None


def log_in(throttle: Throttle, email: str = "ann@example.com", origin: Origin = HOME) -> Attempt:
    with throttle.attempt(throttle.keys_of_password(email, origin), origin) as attempt:
        pass
    with throttle._store.begin() as work:
        throttle.record_success(work, attempt)
        work.commit()
    return attempt


class CheckError(Exception):
    """What a check raises."""


def break_off(throttle: Throttle) -> None:
    with suppress(CheckError), throttle.attempt(throttle.keys_of_password("ann@example.com", HOME), HOME):
        raise CheckError


def test_a_refused_attempt_is_not_counted() -> None:
    throttle, clock, _ = counting()
    assert [refusal(throttle) for _ in range(5)] == [None] * 5
    assert [refusal(throttle) for _ in range(50)] == [1] * 50
    clock.advance(seconds=1)
    assert [refusal(throttle), refusal(throttle)] == [None, 2]


def test_an_attempt_that_is_taken_back_was_never_made() -> None:
    throttle, _, _ = counting()
    for _ in range(50):
        break_off(throttle)
    assert [refusal(throttle) for _ in range(6)] == [None] * 5 + [1]


def test_switched_off_it_counts_nothing_and_writes_nothing() -> None:
    throttle, _, store = counting(throttle=False)
    assert [refusal(throttle) for _ in range(50)] == [None] * 50
    for _ in range(50):
        throttle.limit(CounterKind.SIGNUPS_FROM_BLOCK, HOME)
        log_in(throttle)
        break_off(throttle)
    with throttle.attempt(throttle.keys_of_password("ann@example.com", HOME), HOME) as attempt:
        throttle.accept(attempt)
    with store.begin() as work:
        throttle.trust_origin(work, "ann@example.com", HOME)
        work.commit()
    assert store.counters == {}


@pytest.mark.parametrize("settings", [{}, {"throttle": False}], ids=["on", "off"])
def test_of_a_flood_of_refusals_so_many_are_put_down_and_more_when_time_has_passed(settings: dict[str, Any]) -> None:
    store, clock = Memory(), FakeClock()
    wired = make_settings(throttling=ThrottleSettings(**settings))
    refusals = build_clients(wired, store=cast("Any", store), clock=clock)._refusals
    for _ in range(1000):
        refusals.record(EventKind.CLIENT_REFUSED, HOME, subject="twc_1")
    assert len(store.events) == RECORDED_REFUSALS
    refusals.record(EventKind.CLIENT_REFUSED, Origin(ip="198.51.100.7"))
    assert len(store.events) == RECORDED_REFUSALS + 1, "another block has an allowance of its own"
    start = clock.at
    while clock.at - start < timedelta(days=1):
        refusals.record(EventKind.CLIENT_REFUSED, HOME)
        clock.advance(seconds=10)
    assert 100 < len(store.events) - RECORDED_REFUSALS < 200
    assert {event.kind for event in store.events} == {EventKind.CLIENT_REFUSED}
    assert (store.events[0].subject, store.events[0].ip) == ("twc_1", "203.0.113.7")


def test_no_counter_shows_an_address_that_was_typed() -> None:
    throttle, _, store = counting()
    refusal(throttle)
    throttle.limit(CounterKind.MAIL_FROM_BLOCK, HOME)
    assert len(store.counters) == 4
    assert all(len(key) == 64 and int(key, 16) >= 0 for key in store.counters)
    other = throttling(store, FakeClock(), key=b"o" * 32)
    refusal(other)
    assert len(store.counters) == 7, "without the key, nobody can tell whose counter it is"


def test_counters_of_different_kinds_never_meet() -> None:
    tally = CounterStore(key=KEY, rules=rules(ThrottleSettings()))
    kinds = [kind for kind in CounterKind if kind.value.endswith("from_block")] + [CounterKind.BLOCK]
    keys = {tally.key_of(kind, "", "203.0.113.7") for kind in kinds}
    assert len(keys) == len(kinds)


def test_what_was_spent_is_noted_once_when_it_is_spent() -> None:
    throttle, clock, store = counting()
    for _ in range(5):
        refusal(throttle)
        assert [event.kind for event in store.events] in ([], [EventKind.THROTTLED])
    assert [(event.kind, event.ip, event.user_id) for event in store.events] == [
        (EventKind.THROTTLED, "203.0.113.7", None)
    ]
    clock.advance(seconds=1)
    refusal(throttle)
    assert len(store.events) == 1


def test_a_success_leaves_the_failures_of_its_block_for_other_accounts() -> None:
    throttle, _, _ = counting(throttle_block=4)
    for number in range(3):
        assert refusal(throttle, f"victim{number}@example.com") is None
        log_in(throttle, "eve@example.com")
    assert refusal(throttle, "victim3@example.com") is None
    assert refusal(throttle, "victim4@example.com") == 1


def test_whoever_logs_in_all_day_from_one_block_does_not_keep_its_failures_from_being_forgotten() -> None:
    """An office behind one address: a login every five seconds, a mistyped password every minute.

    One failure comes back in ten seconds, so a minute's mistake is long forgotten when the next one comes.
    """
    throttle, clock, _ = counting(throttle_block=5)
    for minute in range(30):
        assert refusal(throttle, f"typist{minute}@example.com") is None, f"throttled in minute {minute}"
        for step in range(12):
            clock.advance(seconds=5)
            log_in(throttle, f"colleague{step}@example.com")


@pytest.mark.parametrize(
    ("kind", "allowance", "every"),
    [(CounterKind.SIGNUPS_FROM_BLOCK, 30, 59), (CounterKind.MAIL_FROM_BLOCK, 100, 29)],
)
def test_what_is_asked_a_little_faster_than_it_comes_back_lasts_much_longer_than_the_allowance(
    kind: CounterKind, allowance: int, every: int
) -> None:
    """Time between two attempts counts even where each of them is shorter than a whole recovery."""
    throttle, clock, _ = counting()
    for number in range(5 * allowance):
        try:
            throttle.limit(kind, HOME)
        except TooManyAttempts:
            pytest.fail(f"refused after {number} of {5 * allowance}")
        clock.advance(seconds=every)


def test_an_attempt_names_the_counters_that_it_was_counted_in_and_the_one_of_right_passwords() -> None:
    throttle, _, _ = counting()
    everywhere = {
        CounterKind.ACCOUNT_FROM_BLOCK,
        CounterKind.BLOCK,
        CounterKind.ACCOUNT_FROM_STRANGERS,
        CounterKind.RIGHT_PASSWORDS,
    }
    assert set(log_in(throttle).keys) == everywhere
    assert set(log_in(throttle).keys) == everywhere - {CounterKind.ACCOUNT_FROM_STRANGERS}, "at home"


def test_right_passwords_have_a_large_allowance_of_their_own() -> None:
    throttle, clock, _ = counting()
    for _ in range(RIGHT_PASSWORDS):
        log_in(throttle)
    assert refusal(throttle) == 1
    assert refusal(throttle, origin=Origin(ip="198.51.100.7")) is None, "from elsewhere"
    assert refusal(throttle, "ben@example.com") is None, "another account"
    clock.advance(seconds=2)
    assert refusal(throttle) is None


def test_a_right_password_of_one_begins_nobodys_pause_anew() -> None:
    throttle, clock, _ = counting(throttle_block=3)
    for number in range(3):
        assert refusal(throttle, f"victim{number}@example.com") is None
    assert refusal(throttle, "victim4@example.com") == 1
    clock.advance(seconds=1)
    log_in(throttle, "eve@example.com")
    assert refusal(throttle, "victim4@example.com") is None
