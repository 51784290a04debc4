"""When a server stops that is told to, once and again."""

import pytest

from cli.stopping import ONE_SIGNAL, Departure


class Stage:
    """A departure at times that a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.hurries = 0
        self.departure = Departure()
        monkeypatch.setattr("cli.stopping.time.monotonic", lambda: self.now)
        monkeypatch.setattr("cli.stopping._hurry", self._hurry)

    def _hurry(self) -> None:
        self.hurries += 1

    def due_after(self, seconds: float) -> bool:
        """Whether it is time to stop, so many seconds later."""
        self.now += seconds
        return self.departure.is_due()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_nobody_stops_untold(stage: Stage) -> None:
    assert not stage.due_after(1e9)


def test_without_a_drain_it_is_time_at_once(stage: Stage) -> None:
    stage.departure.hear(drain=0)
    assert stage.due_after(0)


def test_with_a_drain_it_is_time_when_that_is_over(stage: Stage) -> None:
    stage.departure.hear(drain=30)
    assert not stage.due_after(29.9)
    assert stage.due_after(0.2)
    assert stage.hurries == 0


def test_a_signal_that_comes_by_two_ways_is_one(stage: Stage) -> None:
    stage.departure.hear(drain=30)
    assert not stage.due_after(ONE_SIGNAL)
    stage.departure.hear(drain=30)
    assert not stage.due_after(30 - ONE_SIGNAL - 0.1)
    assert stage.due_after(0.2)
    assert stage.hurries == 0


def test_a_second_signal_waits_for_nothing(stage: Stage) -> None:
    stage.departure.hear(drain=30)
    assert not stage.due_after(ONE_SIGNAL + 0.1)
    stage.departure.hear(drain=30)
    assert stage.due_after(0)
    assert stage.hurries == 1
