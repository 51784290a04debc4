"""Deadlines with PostgreSQL: no wait without an end, and no queue before a server that is away.

The server's own limits (``statement_timeout``, ``lock_timeout``) say nothing when the server is stopped, or when the
network swallows what it is sent: then a driver waits for ever, a thread each, until no other request is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.errors import _WaitTimeout

from core.errors import DatabaseUnavailable

T = TypeVar("T")

# The deadline of the unit of work for which this thread waits for a connection.
_waiting = threading.local()

LEAST_SECONDS = 0.1  # seconds that giving a connection back may always take
OPEN_SECONDS = 0.5  # seconds in which a server that was found away is not asked again


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time. Asking again at once would only wait as long again."""


def connected_before(deadline: float, connect: Callable[[], T]) -> T:
    """Connect for a unit of work that ends at a time of the monotonic clock."""
    _waiting.deadline = deadline
    try:
        return connect()
    finally:
        _waiting.deadline = None


def time_left(timeout: float) -> float:
    """The seconds until the deadline of the unit of work that waits for a connection; outside any, the time-out."""
    deadline = getattr(_waiting, "deadline", None)
    return timeout if deadline is None else max(deadline - time.monotonic(), 0.0)


def require_time_to_connect(timeout: float) -> None:
    """Begin no new connection when most of the time has gone by with waiting for a place in the pool.

    libpq counts in whole seconds, and takes one for two.

    Raises:
        NoAnswerError: there is not enough time left.

    """
    if time_left(timeout) < timeout * 3 / 4:
        raise NoAnswerError("no time is left to connect")


class UnreplicatedError(psycopg.OperationalError):
    """The server has committed and warns of it. It may be the only one that has."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection on which no wait is longer than what is left of its unit of work."""

    timeout: float = 2.0
    deadline: float | None = None
    """By the monotonic clock; None outside any unit of work."""
    is_warned: bool = False

    def commit(self) -> None:
        """Commit, and believe no server that says it did so with a warning.

        One that stops waiting for its synchronous standby, because somebody has cancelled the wait, says COMMIT and
        warns; what it says it has kept is gone when the standby takes its place.

        Raises:
            UnreplicatedError: nobody knows whether it will last.

        """
        self.is_warned = False
        super().commit()
        if self.is_warned:
            raise UnreplicatedError("committed with a warning")

    def on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        """Take note of a warning."""
        self.is_warned = self.is_warned or notice.severity_nonlocalized == "WARNING"

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, but not for ever.

        Raises:
            NoAnswerError: the server did not answer; the connection is closed, for nobody knows what it stands at.

        """
        try:
            return super().wait(gen, interval, self._left() if timeout is None else timeout)
        except _WaitTimeout:
            self.pgconn.finish()
            raise NoAnswerError("the server does not answer") from None

    def _left(self) -> float:
        return self.timeout if self.deadline is None else max(self.deadline - time.monotonic(), LEAST_SECONDS)


class CircuitBreaker:
    """Remembers that a server is away, so that one asks while the others are refused at once."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._closed_until = 0.0

    def check(self) -> None:
        """Let the caller ask.

        Raises:
            DatabaseUnavailable: the server was away a moment ago, or somebody else is just finding out.

        """
        if self._closed_until == 0.0:
            return  # as nearly always, without the lock
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                raise DatabaseUnavailable
            if self._closed_until:
                # The next one to ask is this one alone, until it has said what came of it. It waits for one
                # time-out and then has something to do, in which nobody else is to begin to wait.
                self._closed_until = now + self._timeout + OPEN_SECONDS

    def trip(self) -> None:
        """The server is away."""
        with self._lock:
            self._closed_until = time.monotonic() + OPEN_SECONDS

    def reset(self) -> None:
        """The server has answered."""
        if self._closed_until:
            with self._lock:
                self._closed_until = 0.0
