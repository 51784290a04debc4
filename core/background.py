"""Work that a process repeats in the background, beside its requests, in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from core.errors import DatabaseUnavailable

WAIT_AFTER_FAILURE = 5.0  # seconds
STOP_SECONDS = 15.0  # longer than the wait for a single answer of a mail server

log = structlog.get_logger("background")


class Background:
    """Runs some work, waits until the interval is over or it is woken, and runs it again.

    A failure is logged and the work goes on: the database comes back, and a defect in one row must not end everything.
    """

    def __init__(
        self, name: str, work: Callable[[], object], *, every: float, finish: Callable[[], None] = lambda: None
    ) -> None:
        self._name = name
        self._work = work
        self._finish = finish
        self._every = every
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Whether the work should come to its end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Run in a new thread: a daemon, so that it never delays the end of the process."""
        self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Run in this thread until `ask_to_stop`."""
        while True:
            self._woken.clear()
            if self.is_stopping:  # checked after the clear, which may have erased the wake-up of `ask_to_stop`
                break
            self._woken.wait(self._run_work())
        self._finish()

    def wake(self) -> None:
        """Run at once: there is work."""
        self._woken.set()

    def ask_to_stop(self) -> None:
        """Finish the current run, and begin no other."""
        self._stopping.set()
        self._woken.set()

    def rest(self, seconds: float) -> None:
        """Wait between two parts of the work, but not to stop."""
        self._stopping.wait(seconds)

    def stop(self) -> None:
        """Ask the thread to stop, and wait for it."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run_work(self) -> float:
        try:
            self._work()
        except DatabaseUnavailable:
            log.warning("the database is away", work=self._name)
        except Exception:
            log.exception("the work failed and goes on", work=self._name)
        else:
            return self._every
        return WAIT_AFTER_FAILURE
