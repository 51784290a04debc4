"""When a server stops that is told to, once and again, and that signals which come at once do not stand in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
import uvicorn
from cli.fastapi_server import DrainingServer
from cli.flask_server import DrainingWorker
from cli.stopping import ONE_SIGNAL, Departure, Order, order_of

from core.app import AuthApp
from tests.servers import ROOT


@pytest.mark.parametrize(
    ("since_first", "order"),
    [
        (None, Order.DRAIN),
        (0, Order.NOTHING),
        (-1e-6, Order.NOTHING),  # a handler that was interrupted by the first one
        (ONE_SIGNAL, Order.NOTHING),
        (ONE_SIGNAL + 0.1, Order.HURRY),
        (1e9, Order.HURRY),
    ],
)
def test_what_a_signal_means_depends_on_the_time_since_the_first(since_first: float | None, order: Order) -> None:
    assert order_of(since_first) is order


def service(drain: float, stopping: object) -> AuthApp:
    """As much of a service as a departure needs."""
    http = SimpleNamespace(drain=timedelta(seconds=drain))
    return cast("AuthApp", SimpleNamespace(settings=SimpleNamespace(http=http), stopping=stopping))


class Stage:
    """A departure at times that a test says, and how often the service was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.hurries = 0
        self.turns = 0
        self.departure = Departure()
        monkeypatch.setattr("cli.stopping.time.monotonic", lambda: self.now)
        monkeypatch.setattr("cli.stopping._hurry", self._hurry)

    def _hurry(self) -> None:
        self.hurries += 1

    def _turn(self) -> None:
        self.turns += 1

    def hear(self, *, drain: float) -> None:
        """A signal, while a service is served."""
        self.departure.hear(service(drain, SimpleNamespace(set=self._turn)))

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
    stage.hear(drain=0)
    assert stage.due_after(0)


def test_with_a_drain_it_is_time_when_that_is_over(stage: Stage) -> None:
    stage.hear(drain=30)
    assert not stage.due_after(29.9)
    assert stage.due_after(0.2)
    assert (stage.hurries, stage.turns) == (0, 1)


def test_a_signal_that_comes_by_two_ways_is_one(stage: Stage) -> None:
    stage.hear(drain=30)
    assert not stage.due_after(ONE_SIGNAL)
    stage.hear(drain=30)
    assert not stage.due_after(30 - ONE_SIGNAL - 0.1)
    assert stage.due_after(0.2)
    assert (stage.hurries, stage.turns) == (0, 1)


def test_a_second_signal_waits_for_nothing(stage: Stage) -> None:
    stage.hear(drain=30)
    assert not stage.due_after(ONE_SIGNAL + 0.1)
    stage.hear(drain=30)
    assert stage.due_after(0)
    assert (stage.hurries, stage.turns) == (1, 1)


def test_while_nothing_is_served_there_is_nothing_to_drain(stage: Stage) -> None:
    stage.departure.hear(None)
    assert stage.due_after(0)
    assert stage.turns == 0


@pytest.mark.parametrize(("pause", "hurries"), [(0, 0), (ONE_SIGNAL + 0.1, 1)])
def test_the_first_signal_that_meets_a_service_turns_its_readiness(stage: Stage, pause: float, hurries: int) -> None:
    stage.departure.hear(None)
    assert stage.due_after(pause)
    stage.hear(drain=30)
    assert stage.due_after(0)
    assert (stage.hurries, stage.turns) == (hurries, 1)


# What follows runs in a process of its own, which would hang.

Handler = Callable[..., object]


def tell_myself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fastapi_door(auth: AuthApp) -> Handler:
    """What a server does that has started."""
    server = DrainingServer(uvicorn.Config("no:where"))
    server.config.loaded_app = SimpleNamespace(state=SimpleNamespace(auth=auth))
    server.started = True
    return server.handle_exit


def flask_door(auth: AuthApp) -> Handler:
    """What a worker does that has loaded its application."""
    worker = object.__new__(DrainingWorker)
    worker._departure, worker.auth = Departure(), auth
    return worker.handle_exit


def hear_the_same_signal_again(door: Callable[[AuthApp], Handler]) -> None:
    """While the first is handled, at the worst moment: its event is locked."""
    stopping = threading.Event()
    condition = stopping._cond  # type: ignore[attr-defined]
    notify = condition.notify_all

    def notify_all() -> None:
        tell_myself()
        notify()

    condition.notify_all = notify_all
    signal.signal(signal.SIGTERM, door(service(60, stopping)))
    tell_myself()
    assert stopping.is_set()


@pytest.mark.parametrize("door", [fastapi_door, flask_door])
def test_a_signal_that_comes_while_it_is_handled_hangs_nothing(door: Callable[[AuthApp], Handler]) -> None:
    line = f"from tests.unit.test_departure import *; hear_the_same_signal_again({door.__name__})"
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=ROOT, capture_output=True, check=False, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
