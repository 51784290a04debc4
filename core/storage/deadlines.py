"""Deadlines with PostgreSQL: every wait ends, and no requests queue for a server that is away.

The server's own limits (``statement_timeout``, ``lock_timeout``) do not help when the server is stopped or the network
drops packets: then a driver waits for ever and occupies a thread, until no other request is answered.
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

LEAST_SECONDS = 0.1  # always left to return a connection to the pool
OPEN_SECONDS = 0.5  # the circuit breaker stays open for this time after a failure


class AwayError(Exception):
    """The server was away a moment ago; the text is the reason of then."""


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time. A retry at once would only wait as long again."""


class NoTimeError(NoAnswerError):
    """The time was over before the server was asked."""


def connected_before(deadline: float, connect: Callable[[], T]) -> T:
    """Connect for a unit of work that ends at a time of the monotonic clock."""
    _waiting.deadline = deadline
    try:
        return connect()
    finally:
        _waiting.deadline = None


def time_left(timeout: float) -> float:
    """Return the seconds until the deadline of the unit of work that waits for a connection, or the timeout."""
    deadline = getattr(_waiting, "deadline", None)
    return timeout if deadline is None else max(deadline - time.monotonic(), 0.0)


def require_time_to_connect(timeout: float) -> None:
    """Refuse to connect when waiting for the pool has taken more than a quarter of the time.

    libpq counts in whole seconds, and takes 1 for 2.

    Raises:
        NoTimeError: there is not enough time left.

    """
    if time_left(timeout) < timeout * 3 / 4:
        raise NoTimeError("no time is left to connect")


class UnreplicatedError(psycopg.OperationalError):
    """The server has committed with a warning. The standby may not have."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection on which no wait goes beyond the deadline of its unit of work."""

    timeout: float = 2.0
    deadline: float | None = None
    """By the monotonic clock; None outside any unit of work."""
    is_warned: bool = False

    def commit(self) -> None:
        """Commit, and treat a commit with a warning as an unknown outcome.

        If the wait for the synchronous standby is cancelled, the server reports COMMIT with a warning. Such a commit is
        lost when the standby takes over.

        Raises:
            UnreplicatedError: the commit may be lost.

        """
        self.is_warned = False
        super().commit()
        if self.is_warned:
            raise UnreplicatedError("committed with a warning")

    def on_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        """Remember a warning."""
        self.is_warned = self.is_warned or notice.severity_nonlocalized == "WARNING"

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, until the deadline.

        Raises:
            NoAnswerError: the server did not answer; the connection is closed, because its state is unknown.

        """
        try:
            return super().wait(gen, interval, self._left() if timeout is None else timeout)
        except _WaitTimeout:
            self.pgconn.finish()
            raise NoAnswerError("the server does not answer") from None

    def _left(self) -> float:
        return self.timeout if self.deadline is None else max(self.deadline - time.monotonic(), LEAST_SECONDS)


class CircuitBreaker:
    """Remembers that a server is away: one request asks it, and the others are refused at once.

    Only connecting and the probe may open it, and only an answer to the probe closes it: the time that a statement of
    one caller takes is no reason to refuse the others.
    """

    def __init__(self, timeout: float, probe: Callable[[], str | None]) -> None:
        self._timeout = timeout
        self._probe = probe
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._open_until = 0.0
        self._reason = ""

    def check(self) -> None:
        """Allow the caller to use the server.

        Raises:
            DatabaseUnavailable: the server was away a moment ago, or another request is asking it.

        """
        if self._open_until == 0.0 and not self._asking.locked():
            return  # the usual case needs no lock
        self._await_outcome()
        with self._lock:
            now = time.monotonic()
            if now < self._open_until:
                raise self._refusal()
            if self._open_until == 0.0:
                return
            # This caller alone asks the server. The breaker stays open for the others during its timeout, and a little
            # longer, until the caller has reported the outcome.
            self._open_until = now + self._timeout + OPEN_SECONDS
        self.ask()
        if self._open_until:
            raise self._refusal()

    def _await_outcome(self) -> None:
        """Wait for a probe under way while the breaker is closed.

        It takes milliseconds if the server answers. If not, whoever goes on now would wait for the server as long as
        those did who have just given it up.
        """
        if self._open_until == 0.0 and self._asking.acquire(timeout=self._timeout):
            self._asking.release()

    def ask(self) -> None:
        """Ask the server, and open or close the breaker. Of several callers at once, one asks."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            reason = self._probe()
        finally:
            self._asking.release()
        if reason is None:
            self._close()
        else:
            self.trip(reason)

    def trip(self, reason: str) -> None:
        """Open the breaker: the server is away."""
        with self._lock:
            self._reason = reason
            self._open_until = time.monotonic() + OPEN_SECONDS

    def _close(self) -> None:
        if self._open_until:
            with self._lock:
                self._open_until = 0.0

    def _refusal(self) -> DatabaseUnavailable:
        refusal = DatabaseUnavailable()
        refusal.__cause__ = AwayError(self._reason)
        return refusal
