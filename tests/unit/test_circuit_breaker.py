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


class Server:
    """A server that answers the probe or not; how often it was asked."""

    def __init__(self) -> None:
        self.reason: str | None = "away"
        self.asked = 0
        self._lock = threading.Lock()

    def probe(self) -> str | None:
        with self._lock:
            self.asked += 1
        return self.reason


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def breaker(server: Server) -> CircuitBreaker:
    return CircuitBreaker(PATIENCE, server.probe)


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


def test_whoever_finds_the_server_away_spares_the_others_the_question(
    breaker: CircuitBreaker, clock: Clock, server: Server
) -> None:
    breaker.trip("away")
    assert [passes(breaker) for _ in range(10)] == [False] * 10
    clock.at += OPEN_SECONDS - 0.001
    assert not passes(breaker)
    assert server.asked == 0


def test_after_a_rest_one_asks_and_the_others_are_refused_for_as_long_again(
    breaker: CircuitBreaker, clock: Clock, server: Server
) -> None:
    for rest in range(1, 6):
        breaker.trip("away")
        clock.at += OPEN_SECONDS
        assert [passes(breaker) for _ in range(10)] == [False] * 10
        assert server.asked == rest


def test_an_answer_lets_everybody_through_again(breaker: CircuitBreaker, clock: Clock, server: Server) -> None:
    breaker.trip("away")
    clock.at += OPEN_SECONDS
    server.reason = None
    assert [passes(breaker) for _ in range(10)] == [True] * 10
    assert server.asked == 1


def test_while_one_asks_the_others_are_refused(clock: Clock) -> None:
    others: list[bool] = []

    def probe() -> str | None:
        clock.at += PATIENCE  # it waits in vain
        others.append(passes(own))
        return "away"

    own = CircuitBreaker(PATIENCE, probe)
    own.trip("away")
    clock.at += OPEN_SECONDS
    assert not passes(own)
    assert others == [False]


def test_who_asks_and_never_says_what_came_of_it_is_followed_by_another(clock: Clock) -> None:
    """A thread that found something other than the server amiss must not keep all others out for good."""
    asked: list[float] = []

    def probe() -> str | None:
        asked.append(clock.at)
        raise MemoryError

    breaker = CircuitBreaker(PATIENCE, probe)
    breaker.trip("away")
    clock.at += OPEN_SECONDS
    for number in range(1, 6):
        with pytest.raises(MemoryError):
            breaker.check()
        assert not passes(breaker)
        assert len(asked) == number
        clock.at += PATIENCE + OPEN_SECONDS


def test_work_that_was_long_opens_it_only_if_the_server_does_not_answer(
    breaker: CircuitBreaker, server: Server, clock: Clock
) -> None:
    server.reason = None
    breaker.ask()
    assert passes(breaker)
    server.reason = "silent"
    breaker.ask()
    assert not passes(breaker)
    assert clock.at == 1000.0


@pytest.mark.parametrize("reason", [None, "silent"])
def test_who_comes_while_it_asks_about_long_work_waits_for_the_answer(reason: str | None) -> None:
    """With a server that answers, a few milliseconds; nobody is refused for the long work of another."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def probe() -> str | None:
        is_asked.set()
        assert may_answer.wait(10)
        return reason

    own = CircuitBreaker(PATIENCE, probe)
    with ThreadPoolExecutor(5) as pool:
        asking = pool.submit(own.ask)
        assert is_asked.wait(10)
        others = [pool.submit(passes, own) for _ in range(4)]
        assert not any(other.done() for other in others)
        may_answer.set()
        asking.result(10)
        assert [other.result(10) for other in others] == [reason is None] * 4


def test_of_many_at_once_exactly_one_asks(clock: Clock, server: Server) -> None:
    for number in range(1, 51):
        breaker = CircuitBreaker(PATIENCE, server.probe)
        breaker.trip("away")
        clock.at += OPEN_SECONDS
        start = threading.Barrier(16)

        def ask(own: CircuitBreaker = breaker, at_once: threading.Barrier = start) -> bool:
            at_once.wait(10)
            return passes(own)

        with ThreadPoolExecutor(16) as pool:
            answers = [future.result(10) for future in [pool.submit(ask) for _ in range(16)]]
        assert not any(answers)
        assert server.asked == number
