"""Idle connections: one that was lost in the pool is replaced before a request gets it.

A server that restarts closes its connections; firewalls, NAT and load balancers forget one that is idle for minutes,
without a word to either end. The first is seen on the socket, at no cost: an idle connection has nothing to be read
(1 µs). The second is seen by asking, which is a round trip, so only a connection that was idle for long is asked.
"""

import select
import time
from typing import Any

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError, InvalidatePoolError

from core.storage.deadlines import DeadlineConnection

# Azure forgets a connection after 4 minutes, the network load balancer of AWS after 6, Docker Swarm after 15.
ASKED_AFTER = 60.0  # seconds
KEEP_ALIVE = {"keepalives_idle": 60, "keepalives_interval": 15, "keepalives_count": 4}
"""Parameters of libpq: the kernel asks in minutes and not after two hours, so that most are never forgotten."""
_SHARE = 1 / 8  # of the timeout, so that enough of it is left to connect anew

_IDLE_SINCE = "twinauth_idle_since"


def replace_lost(engine: Engine, timeout: float) -> None:
    """Let the pool replace connections that were lost while they were idle."""

    @event.listens_for(engine, "checkin")
    def note(_connection: DeadlineConnection | None, record: Any) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(connection: DeadlineConnection, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get(_IDLE_SINCE)
        if idle_since is None:
            return  # it is new
        if time.monotonic() - idle_since > ASKED_AFTER and not _answers(connection, timeout * _SHARE):
            raise InvalidatePoolError  # those that were made before are likely lost too, and each would be waited for
        if _has_news(connection) and not _answers(connection, timeout * _SHARE):
            raise DisconnectionError


def _has_news(connection: DeadlineConnection) -> bool:
    """Whether there is something to be read: the end of the connection, or a notice."""
    if connection.closed:
        return True
    poll = select.poll()  # `select` knows the first 1024 descriptors alone
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _answers(connection: DeadlineConnection, seconds: float) -> bool:
    connection.deadline = time.monotonic() + seconds
    try:
        connection.autocommit = True
        connection.execute("SELECT 1", prepare=False)
        connection.autocommit = False
    except psycopg.Error:
        return False
    finally:
        connection.deadline = None
    return True
