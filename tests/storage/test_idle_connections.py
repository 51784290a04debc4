"""Connections that were lost while nobody used them: the next request is answered as if nothing had happened."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from core.sql_store import SqlStore
from core.storage import idle
from tests.support.database_faults import end_connections, mortal, opened, overheard, url_of, within
from tests.support.values import audit_event, events_in
from tests.support.wires import Wire, wire_to

CONNECTIONS = 5


def write(store: SqlStore) -> None:
    with store.begin() as work:
        work.audit.add(audit_event())
        work.commit()


def read(store: SqlStore) -> None:
    with store.reading() as found:
        found.users.by_email("ann@example.com")


WAYS: list[Callable[[SqlStore], None]] = [write, read, SqlStore.check]


def use_all_connections(store: SqlStore) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(store.reading()).users.by_email("ann@example.com")


def driver_of(store: SqlStore) -> psycopg.Connection[Any]:
    with store.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@pytest.fixture
def wire(postgres_store: SqlStore) -> Iterator[Wire]:
    with wire_to(url_of(postgres_store)) as made:
        yield made


@pytest.fixture
def store(wire: Wire, postgres_store: SqlStore) -> Iterator[SqlStore]:
    url = postgres_store.engine.url.set(port=wire.port).render_as_string(hide_password=False)
    with opened(url, pool_size=CONNECTIONS) as found:
        yield found


@pytest.fixture
def is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection was idle for long."""
    monkeypatch.setattr(idle, "ASKED_AFTER", -1.0)


@pytest.mark.parametrize("way", WAYS)
def test_connections_that_the_server_closed_are_not_noticed(
    postgres_store: SqlStore, way: Callable[[SqlStore], None]
) -> None:
    """As after a restart of the server, or its `idle_session_timeout`."""
    with mortal(postgres_store) as store:
        use_all_connections(store)
        end_connections(store)
        for _ in range(2 * CONNECTIONS):
            way(store)


@pytest.mark.parametrize("way", WAYS)
def test_connections_that_something_between_closed_are_not_noticed(
    store: SqlStore, wire: Wire, way: Callable[[SqlStore], None]
) -> None:
    use_all_connections(store)
    wire.reset()
    for _ in range(2 * CONNECTIONS):
        way(store)


@pytest.mark.usefixtures("is_asked")
@pytest.mark.parametrize("way", WAYS)
def test_connections_that_something_between_forgot_are_not_noticed(
    store: SqlStore, wire: Wire, way: Callable[[SqlStore], None]
) -> None:
    use_all_connections(store)
    wire.forget()
    with within(1.5):
        for _ in range(2 * CONNECTIONS):
            way(store)


@pytest.mark.usefixtures("is_asked")
def test_many_requests_at_once_after_a_quiet_night_are_all_answered(
    store: SqlStore, wire: Wire, postgres_store: SqlStore
) -> None:
    use_all_connections(store)
    wire.forget()
    with ThreadPoolExecutor(CONNECTIONS) as pool, within(1.9):
        list(pool.map(lambda _: write(store), range(4 * CONNECTIONS)))
    assert len(events_in(postgres_store)) == 4 * CONNECTIONS


def test_a_connection_in_use_costs_no_question(postgres_store: SqlStore) -> None:
    with opened(url_of(postgres_store), pool_size=1) as store, overheard(store) as heard:
        read(store)
        read(store)
    assert len(heard) == 2


@pytest.mark.usefixtures("is_asked")
def test_a_connection_that_was_idle_for_long_is_asked_once_and_kept(postgres_store: SqlStore) -> None:
    with opened(url_of(postgres_store), pool_size=1) as store:
        before = driver_of(store)
        with overheard(store) as heard:
            read(store)
        assert heard[0] == "SELECT 1"
        assert len(heard) == 2
        assert driver_of(store) is before


def test_a_connection_that_was_closed_on_this_side_is_replaced(postgres_store: SqlStore) -> None:
    with opened(url_of(postgres_store), pool_size=1) as store:
        driver_of(store).close()
        read(store)


def test_a_connection_with_a_notice_for_it_is_kept(postgres_store: SqlStore) -> None:
    with opened(url_of(postgres_store), pool_size=1) as store:
        before = driver_of(store)
        before.execute("LISTEN news")
        before.commit()
        with psycopg.connect(url_of(postgres_store).replace("+psycopg", ""), autocommit=True) as other:
            other.execute("NOTIFY news")
        read(store)
        assert driver_of(store) is before


def test_the_kernel_asks_in_minutes_whether_the_other_end_is_there(postgres_store: SqlStore) -> None:
    assert _keep_alive(url_of(postgres_store)) == (60, 15, 4)
    assert _keep_alive(f"{url_of(postgres_store)}?keepalives_idle=30") == (30, 15, 4)


def _keep_alive(url: str) -> tuple[int, ...]:
    with opened(url) as store, socket.socket(fileno=driver_of(store).fileno()) as found:
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        figures = tuple(found.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        found.detach()
        return figures
