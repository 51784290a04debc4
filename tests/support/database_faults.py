"""Real trouble for real databases: connections that die, locks that stay, servers that are silent."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import pq
from sqlalchemy import Connection, create_engine, event, text

from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore, open_store
from tests.support.databases import assert_nothing_checked_out

_HOLD_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def url_of(store: SqlStore) -> str:
    return store.engine.url.render_as_string(hide_password=False)


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[SqlStore]:
    """Another store on a database, with connections and settings of its own."""
    store = open_store(url, DatabaseSettings(**settings))
    try:
        yield store
        assert_nothing_checked_out(store)
    finally:
        store.close()


@contextmanager
def server_options(store: SqlStore, **options: str) -> Iterator[SqlStore]:
    """Another store on the same PostgreSQL database, whose sessions have these server settings."""
    chosen = " ".join(f"-c {name}={value}" for name, value in options.items())
    url = store.engine.url.update_query_dict({"options": chosen})
    with opened(url.render_as_string(hide_password=False)) as other:
        yield other


@contextmanager
def mortal(store: SqlStore) -> Iterator[SqlStore]:
    """Another store on the same PostgreSQL database, whose connections can be told from all others and ended."""
    url = store.engine.url.update_query_dict({"application_name": f"mortal-{secrets.token_hex(4)}"})
    with opened(url.render_as_string(hide_password=False)) as other:
        yield other


@contextmanager
def overheard(store: SqlStore) -> Iterator[list[str]]:
    """What the driver really sends while the store, which has one connection, is used."""
    with store.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
    heard: list[str] = []
    if isinstance(driver, sqlite3.Connection):
        driver.set_trace_callback(heard.append)
        yield heard
        driver.set_trace_callback(None)
        # How long it waits for a lock is a setting of the driver, for which SQLite has no other way.
        heard[:] = [statement for statement in heard if not statement.startswith("PRAGMA busy_timeout")]
        return
    with tempfile.NamedTemporaryFile() as trace:
        descriptor = os.open(trace.name, os.O_WRONLY)
        driver.pgconn.trace(descriptor)
        driver.pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        yield heard
        driver.pgconn.untrace()
        os.close(descriptor)
        heard += _statements(Path(trace.name).read_text())


def _statements(trace: str) -> list[str]:
    """The statements among the messages of libpq's trace: simple queries, and executions of what was parsed last."""
    statements, parsed = [], "(prepared before)"
    for kind, rest in re.findall(r'^F\t\d+\t(Query|Parse|Execute)\t ?((?:"[^"]*" ?)*)', trace, re.MULTILINE):
        texts = re.findall(r'"([^"]*)"', rest)
        if kind == "Parse":
            parsed = texts[1]
        else:
            statements.append(texts[0] if kind == "Query" else parsed)
    return statements


def end_connections(store: SqlStore) -> None:
    """Let the PostgreSQL server end every connection of this `mortal` store, and wait until they are gone."""
    name = store.engine.url.query["application_name"]
    of_store = f"FROM pg_stat_activity WHERE application_name = '{name}'"
    _administer(
        store,
        f"SELECT pg_terminate_backend(pid) {of_store}",
        until=f"SELECT count(*) = 0 {of_store}",
    )


def wait_for_blocked(store: SqlStore, *, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait until a connection to this PostgreSQL database waits for a lock that another one holds."""
    _administer(
        store,
        until="SELECT count(*) > 0 FROM pg_stat_activity "
        "WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0",
        unless=unless,
    )


def _administer(store: SqlStore, *statements: str, until: str, unless: Callable[[], bool] = lambda: False) -> None:
    url = store.engine.url.update_query_dict({"application_name": "administration"})
    engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_size=1)
    try:
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
            deadline = time.monotonic() + 10
            while not connection.scalar(text(until)) and not unless():
                assert time.monotonic() < deadline, until
                time.sleep(0.002)  # asks again; nothing is assumed to have happened meanwhile
    finally:
        engine.dispose()


@contextmanager
def meanwhile(store: SqlStore, verb: str, action: Callable[[], object]) -> Iterator[None]:
    """Do something once, just before the first statement of this store that starts with ``verb``."""
    waiting = [action]

    def act(_connection: Connection, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith(verb) and waiting:
            waiting.pop()()

    event.listen(store.engine, "before_cursor_execute", act)
    try:
        yield
        assert not waiting, f"no {verb} came"
    finally:
        event.remove(store.engine, "before_cursor_execute", act)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    taken = time.monotonic() - start
    assert taken < seconds, f"took {taken:.2f} s"


@contextmanager
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"postgresql://app:unknown@127.0.0.1:{server.getsockname()[1]}/app"


@contextmanager
def locked_by_another_process(store: SqlStore) -> Iterator[None]:
    """Another process holds the write lock of this SQLite file."""
    command = [sys.executable, "-c", _HOLD_WRITE_LOCK, str(store.engine.url.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.communicate()
