"""How a process ends: readiness first, then the drain, then what is under way; a second signal waits for none of it."""

import atexit
import ctypes
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from core.app import AuthApp

GRACE = 30  # seconds for requests in flight when the server has stopped listening
LINGER = 2  # seconds in which an idle connection may still bring a request when the server stops, as gunicorn has it
HURRY = 2  # seconds that are left after a second signal
# Seconds in which a process accepts what had come before the signal: uvloop runs timers first, and one of uvicorn's
# closes the listener. A connection that waits there would be reset.
SETTLE = 0.1
# Signals within this many seconds are one: systemd sends one to every process of a service, a terminal to every process
# of a group, and the parents among them pass it on.
ONE_SIGNAL = 1

_PR_SET_PDEATHSIG = 1


def on_signals(stop: Callable[[], object], hurry: Callable[[], object]) -> None:
    """Call one at the first SIGTERM or SIGINT, the other at a second. A handler may interrupt itself at any step."""
    count = itertools.count()
    first = [float("inf")]

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if next(count) == 0:
            first[0] = time.monotonic()
            stop()
        elif time.monotonic() - first[0] > ONE_SIGNAL:
            hurry()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


class GracefulShutdown:
    """Stands before the handler that a server has for SIGTERM: says that the service is not ready, and drains first."""

    def __init__(self, auth: AuthApp) -> None:
        self._auth = auth
        self._stop = signal.getsignal(signal.SIGTERM)

    def install(self) -> None:
        """Take the signals over; in the main thread, when the server has set its own handlers."""
        on_signals(self.mark_stopping, self.hurry)
        ignore_operators()
        atexit.register(ignore_signals)

    def mark_stopping(self) -> None:
        """Say in `/readyz` that the service is not ready, and stop when a load balancer can have noticed."""
        self._auth.stopping.set()
        self._after(max(self._auth.settings.http.drain.total_seconds(), SETTLE), self._stop_serving)

    def hurry(self) -> None:
        """Stop now, and leave soon whatever is under way: it rolls back as in a power cut."""
        self._stop_serving()
        self._after(HURRY, lambda: os._exit(0))  # it was asked for

    def _stop_serving(self) -> None:
        if callable(self._stop):
            self._stop(signal.SIGTERM, None)

    def _after(self, seconds: float, then: Callable[[], object]) -> None:
        # A timer of the kernel: a thread takes locks to start, which the handler may have interrupted the holder of.
        signal.signal(signal.SIGALRM, lambda *_: then())
        signal.setitimer(signal.ITIMER_REAL, seconds)


def ignore_operators() -> None:
    """Ignore `pkill -HUP` and logrotate: either signal would end a process, and there is no file to open again."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def ignore_signals() -> None:
    """Hear no further signals: one that comes when Python has taken its handlers away would kill the process."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def end_with(parent: int) -> None:
    """Be sent SIGTERM when the parent ends, even by SIGKILL: its ports would be left to processes that nobody stops.

    Linux only. Elsewhere a parent that is killed leaves its children behind; one that is told to stop never does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended before
        raise SystemExit(0)
