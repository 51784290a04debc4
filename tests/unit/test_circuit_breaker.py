"""The breaker: while the database is away, one asks it and everybody else is told at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import DatabaseUnavailable
from core.storage import deadlines
from core.storage.deadlines import OPEN_SECONDS, CircuitBreaker

PATIENCE = 2.0


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(deadlines, "time", found)
    return found


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker(PATIENCE)


def passes(breaker: CircuitBreaker) -> bool:
    try:
        breaker.check()
    except DatabaseUnavailable:
        return False
    return True


def test_everybody_passes_while_nothing_is_known_against_the_server(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(10):
        assert passes(breaker)
        clock.at += 0.01


def test_whoever_finds_the_server_away_spares_the_others_the_question(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.trip("away")
    assert [passes(breaker) for _ in range(10)] == [False] * 10
    clock.at += OPEN_SECONDS - 0.001
    assert not passes(breaker)


def test_after_a_rest_one_asks_and_the_others_are_refused_meanwhile(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.trip("away")
    clock.at += OPEN_SECONDS
    assert [passes(breaker) for _ in range(10)] == [True] + [False] * 9
    clock.at += PATIENCE + OPEN_SECONDS - 0.001  # it has waited in vain, and not yet said so
    assert not passes(breaker)


def test_an_answer_lets_everybody_through_again(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.trip("away")
    clock.at += OPEN_SECONDS
    assert passes(breaker)
    assert not passes(breaker)
    breaker.reset()
    assert [passes(breaker) for _ in range(10)] == [True] * 10


def test_who_asks_in_vain_starts_another_rest(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.trip("away")
    for _ in range(5):
        clock.at += OPEN_SECONDS
        assert passes(breaker)
        clock.at += PATIENCE
        breaker.trip("away")
        assert not passes(breaker)


def test_who_asks_and_never_says_what_came_of_it_is_followed_by_another(breaker: CircuitBreaker, clock: Clock) -> None:
    """A thread that died, or found something other than the server amiss, must not keep all others out for good."""
    breaker.trip("away")
    for _ in range(5):
        clock.at += PATIENCE + OPEN_SECONDS
        assert [passes(breaker) for _ in range(3)] == [True, False, False]


def test_an_answer_to_somebody_who_asked_before_the_trip_ends_it(breaker: CircuitBreaker) -> None:
    breaker.trip("away")
    breaker.reset()
    assert passes(breaker)


def test_of_many_at_once_exactly_one_asks(clock: Clock) -> None:
    for _ in range(50):
        breaker = CircuitBreaker(PATIENCE)
        breaker.trip("away")
        clock.at += OPEN_SECONDS
        start = threading.Barrier(16)

        def ask(own: CircuitBreaker = breaker, at_once: threading.Barrier = start) -> bool:
            at_once.wait(10)
            return passes(own)

        with ThreadPoolExecutor(16) as pool:
            answers = [future.result(10) for future in [pool.submit(ask) for _ in range(16)]]
        assert sum(answers) == 1
