"""A question of our own to PostgreSQL: whether it answers, whatever a caller's statement is waiting for.

A statement without an answer in time says nothing about the server: it may be long, or wait for a lock. The circuit
breaker took it for a server that is away, and two deletions of one large account made 30 to 60 % of the answers to
strangers 503.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn
from sqlalchemy import Engine

from core.storage.deadlines import DeadlineConnection, NoAnswerError
from core.storage.engine import is_away
from core.storage.reasons import reason_of

SHARE = 1 / 4  # of the timeout: connecting takes some milliseconds, and the caller who asks has waited already

_EVENTS = {
    pq.PollingStatus.READING: select.POLLIN,
    pq.PollingStatus.WRITING: select.POLLOUT,
}

Probe = Callable[[], str | None]
"""Ask the server; return the reason why it is away, or None if it answers."""


def probe_of(engine: Engine, timeout: float) -> Probe:
    """Make the probe of an engine. An SQLite file has no server that could be away."""
    if engine.dialect.name == "sqlite":
        return lambda: None

    arguments, parameters = engine.dialect.create_connect_args(engine.url)
    given = {name: value for name, value in parameters.items() if name != "context"}  # of psycopg, and not of libpq

    def probe() -> str | None:
        conninfos = (make_conninfo(*arguments, **one).encode() for one in _each_host(given))
        reasons = (_reason_to_be_away(conninfo, timeout * SHARE) for conninfo in conninfos)
        found = ""
        for reason in reasons:
            if reason is None:
                return None
            found = reason
        return found

    return probe


def _each_host(parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the parameters of each host: libpq would spend all of the time on a silent first one."""
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port", "")).split(",")
    for number, host in enumerate(hosts):
        place = {"host": host, "port": ports[number] if len(ports) > 1 else ports[0]}
        yield parameters | {name: value for name, value in place.items() if value}


def _reason_to_be_away(conninfo: bytes, seconds: float) -> str | None:
    try:
        _ask(conninfo, time.monotonic() + seconds)
    except psycopg.Error as error:
        return reason_of(error) if is_away(error) else None
    return None


def _ask(conninfo: bytes, deadline: float) -> None:
    """Connect and ask: behind a pooler, a connection alone is the pooler's.

    Raises:
        psycopg.Error: the server refuses, or does not answer by the deadline.

    """
    with closing(DeadlineConnection(_connect(conninfo, deadline))) as connection:
        connection.deadline = deadline
        connection.autocommit = True
        connection.execute("SELECT 1", prepare=False)


def _connect(conninfo: bytes, deadline: float) -> PGconn:
    """Connect by a deadline; libpq's own `connect_timeout` is two seconds at least."""
    connection = pq.PGconn.connect_start(conninfo)
    while events := _EVENTS.get(pq.PollingStatus(connection.connect_poll())):
        poll = select.poll()  # `select` knows the first 1024 descriptors alone
        poll.register(connection.socket, events)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            connection.finish()
            raise NoAnswerError("the server does not answer")
    if connection.status != pq.ConnStatus.OK:
        said = connection.get_error_message()
        connection.finish()
        raise psycopg.OperationalError(said)
    return connection
