"""Work in the background: it comes round, is woken, outlives failures, and ends when it is asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from core import background
from core.background import WAIT_AFTER_FAILURE, Background
from core.errors import DatabaseUnavailable, TransactionConflict

NEVER = 3600.0  # seconds; what happens sooner was not the clock
SOON = 10.0  # a bound, not a wait


class Work:
    """Work that can be watched, and told how each run ends."""

    def __init__(self, *outcomes: Callable[[], None]) -> None:
        self._outcomes = list(outcomes)
        self._done = threading.Semaphore(0)
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        try:
            if self._outcomes:
                self._outcomes.pop(0)()
        finally:
            self._done.release()

    def has_run(self) -> bool:
        """Wait for the next run to be over."""
        return self._done.acquire(timeout=SOON)


@contextmanager
def running(work: Callable[[], object], *, every: float) -> Iterator[Background]:
    it = Background("work", work, every=every)
    it.start()
    try:
        yield it
    finally:
        it.stop()


def fail(error: Exception) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_the_work_begins_at_once_and_comes_round() -> None:
    work = Work()
    with running(work, every=0.001):
        assert all(work.has_run() for _ in range(5))


def test_between_two_runs_it_pauses() -> None:
    work = Work()
    with running(work, every=0.3):
        assert work.has_run()
        started = time.monotonic()
        assert work.has_run()
        assert time.monotonic() - started >= 0.29


def test_who_wakes_it_does_not_wait_for_the_pause() -> None:
    work = Work()
    with running(work, every=NEVER) as it:
        for _ in range(20):
            assert work.has_run()
            it.wake()
        assert work.has_run()


def test_a_wake_during_the_work_is_not_lost() -> None:
    """What was put there while the work looked elsewhere is looked at in another run."""
    begun, go_on = threading.Event(), threading.Event()

    def first_run() -> None:
        begun.set()
        assert go_on.wait(SOON)

    work = Work(first_run)
    with running(work, every=NEVER) as it:
        assert begun.wait(SOON)
        it.wake()
        go_on.set()
        assert work.has_run()
        assert work.has_run()


@pytest.mark.parametrize("error", [DatabaseUnavailable(), TransactionConflict(), ValueError("a defect"), KeyError(1)])
def test_a_failure_is_survived(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "WAIT_AFTER_FAILURE", 0.001)
    work = Work(*[fail(error)] * 3)
    with running(work, every=NEVER) as it:
        assert all(work.has_run() for _ in range(4))
        it.wake()
        assert work.has_run()


def test_after_a_failure_it_tries_again_sooner_than_the_next_round_and_not_at_once() -> None:
    it = Background("work", fail(ValueError("a defect")), every=NEVER)
    assert it._run_work() == WAIT_AFTER_FAILURE
    assert Background("work", lambda: None, every=NEVER)._run_work() == NEVER
    assert 1 <= WAIT_AFTER_FAILURE <= 30


def test_a_defect_is_logged_whole_and_a_database_that_is_away_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    Background("the mail", fail(DatabaseUnavailable()), every=NEVER)._run_work()
    Background("the mail", fail(ValueError("a defect")), every=NEVER)._run_work()
    away, defect = caplog.records
    assert (away.levelname, away.exc_info) == ("WARNING", None)
    assert defect.levelname == "ERROR"
    assert defect.exc_info is not None
    assert isinstance(defect.exc_info[1], ValueError)


def test_stopping_wakes_it_from_its_pause_and_ends_the_thread() -> None:
    work = Work()
    it = Background("a name of its own", work, every=NEVER)
    it.start()
    assert work.has_run()
    assert "a name of its own" in {thread.name for thread in threading.enumerate()}
    started = time.monotonic()
    it.stop()
    assert time.monotonic() - started < SOON
    assert "a name of its own" not in {thread.name for thread in threading.enumerate()}
    assert it.is_stopping
    assert work.runs == 1


def test_stopping_waits_for_the_work_that_is_being_done() -> None:
    begun, go_on, is_over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(SOON)
        is_over.set()

    it = Background("work", work, every=NEVER)
    it.start()
    assert begun.wait(SOON)
    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(it.stop)
        assert not stopped.done()
        go_on.set()
        stopped.result(SOON)
    assert is_over.is_set()


def test_the_work_can_see_that_it_should_come_to_its_end() -> None:
    begun = threading.Event()

    def work() -> None:
        begun.set()
        while not it.is_stopping:
            time.sleep(0.001)  # what long work asks between two steps

    it = Background("work", work, every=NEVER)
    it.start()
    assert begun.wait(SOON)
    assert not it.is_stopping
    it.stop()
    assert it._thread is not None
    assert not it._thread.is_alive()


def test_work_that_does_not_end_holds_a_stop_up_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STOP_SECONDS", 0.1)
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(SOON)

    it = Background("work", work, every=NEVER)
    it.start()
    assert begun.wait(SOON)
    it.stop()
    assert it._thread is not None
    assert it._thread.is_alive()
    assert it._thread.daemon, "the process could not end"
    go_on.set()
    it._thread.join(SOON)
    assert not it._thread.is_alive()


def test_what_finishes_it_runs_once_and_last() -> None:
    seen: list[str] = []
    it = Background("work", lambda: seen.append("work"), every=NEVER, finish=lambda: seen.append("finish"))
    it.ask_to_stop()
    it.run()
    assert seen == ["finish"]
    seen.clear()

    def work_and_be_told() -> None:
        seen.append("work")
        again.ask_to_stop()

    again = Background("work", work_and_be_told, every=NEVER, finish=lambda: seen.append("finish"))
    again.run()
    assert seen == ["work", "finish"]


def test_stopping_what_never_started_is_nothing() -> None:
    Background("work", lambda: None, every=NEVER).stop()


def test_stopping_twice_is_nothing_more() -> None:
    work = Work()
    with running(work, every=NEVER) as it:
        assert work.has_run()
        it.stop()
        it.stop()
    assert work.runs == 1


def test_a_stop_that_comes_just_before_a_run_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the question whether to go on and the moment when it is ready to be woken again."""
    it = Background("work", lambda: None, every=NEVER)
    clear = it._woken.clear

    def clear_just_after_a_stop() -> None:
        it.ask_to_stop()
        clear()

    monkeypatch.setattr(it._woken, "clear", clear_just_after_a_stop)
    it.start()
    assert it._thread is not None
    it._thread.join(1)
    has_ended = not it._thread.is_alive()
    it.wake()
    it._thread.join(SOON)
    assert has_ended
