"""Work that a process does besides requests, again and again, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from core.errors import DatabaseUnavailable

WAIT_AFTER_FAILURE = 5.0  # seconds
STOP_SECONDS = 15.0  # longer than a mail server's single answer is waited for

log = structlog.get_logger("background")


class Background:
    """Runs some work, waits for as many seconds or until it is woken, and runs it again.

    A failure is logged and the work goes on: the database comes back, and a defect in one row must not end all.
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
        """Run in a thread of its own. A daemon: a process that is told to end is not held up by it."""
        self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
        self._thread.start()

    def run(self) -> None:
        """Run in this thread until `ask_to_stop`."""
        while True:
            self._woken.clear()
            if self.is_stopping:  # asked behind the clearing, which may have erased its wake-up
                break
            self._woken.wait(self._run_work())
        self._finish()

    def wake(self) -> None:
        """Run at once: there is something to do."""
        self._woken.set()

    def ask_to_stop(self) -> None:
        """Finish what is being done, and no more."""
        self._stopping.set()
        self._woken.set()

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
