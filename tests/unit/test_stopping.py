"""What a signal means, and that signals which come at once do not stand in each other's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from core.app import AuthApp
from servers.stopping import ONE_SIGNAL, GracefulShutdown, end_with, on_signals  # noqa: F401 - used in `alone`
from tests.support.servers import ROOT


@pytest.fixture
def _handlers() -> Iterator[None]:
    """Those that there were, in the end."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([0], ["stop"]),
        ([0, 0], ["stop"]),
        ([0, ONE_SIGNAL], ["stop"]),  # by two ways
        ([0, ONE_SIGNAL + 0.1], ["stop", "hurry"]),
        ([0, 0.5, 60], ["stop", "hurry"]),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_one_that_comes_later(
    times: list[float], told: list[str], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    on_signals(lambda: heard.append("stop"), lambda: heard.append("hurry"))
    for at in times:
        monkeypatch.setattr("servers.stopping.time.monotonic", lambda at=at: 1000 + at)
        os.kill(os.getpid(), number)
    assert heard == told


def service(drain: float, stopping: threading.Event) -> AuthApp:
    """As much of a service as its end needs."""
    http = SimpleNamespace(drain=timedelta(seconds=drain))
    return cast("AuthApp", SimpleNamespace(settings=SimpleNamespace(http=http), stopping=stopping))


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("drain", [0, 0.3])
def test_the_server_is_told_when_the_drain_is_over(drain: float) -> None:
    told: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
    stopping = threading.Event()
    GracefulShutdown(service(drain, stopping)).install()
    begun = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.is_set()
    while not told and time.monotonic() - begun < 5:
        time.sleep(0.01)
    assert drain <= told[0] - begun < drain + 1


def hear_the_same_signal_again() -> None:
    """While the first is handled, at the worst moment: its event is locked."""
    stopping = threading.Event()
    condition = stopping._cond  # type: ignore[attr-defined]
    notify = condition.notify_all

    def notify_all() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        notify()

    condition.notify_all = notify_all
    GracefulShutdown(service(60, stopping)).install()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.is_set()


def alone(line: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, which may hang or end."""
    line = f"from tests.unit.test_stopping import *; {line}; print('goes on')"
    command = [sys.executable, "-c", line]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=20)


def test_a_signal_that_comes_while_it_is_handled_hangs_nothing() -> None:
    done = alone("hear_the_same_signal_again()")
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


@pytest.mark.parametrize(("parent", "said"), [("os.getppid()", "goes on\n"), ("2**22", "")])
def test_a_child_whose_parent_has_ended_by_then_ends_itself(parent: str, said: str) -> None:
    done = alone(f"end_with({parent})")
    assert (done.returncode, done.stdout) == (0, said), done.stderr
