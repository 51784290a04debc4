"""No wait without an end: a PostgreSQL server that takes what it is sent and says nothing, in the middle of things."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.errors import DatabaseUnavailable, TransactionConflict
from core.sql_store import SqlStore
from core.storage.deadlines import LEAST_SECONDS, OPEN_SECONDS, DeadlineConnection
from core.storage.probe import SHARE
from tests.support.database_faults import opened, url_of, within
from tests.support.databases import assert_nothing_checked_out
from tests.support.servers import eventually
from tests.support.values import NOW, account, audit_event, events_in, stored
from tests.support.wires import Wire, wire_to

TIMEOUT = timedelta(seconds=1)
# What a unit of work may take, and some for a busy machine: far less than a second time-out would add.
IN_TIME = TIMEOUT.total_seconds() + 0.8


@pytest.fixture
def wire(postgres_store: SqlStore) -> Iterator[Wire]:
    with wire_to(url_of(postgres_store)) as made:
        yield made


@contextmanager
def behind(wire: Wire, store: SqlStore, **settings: Any) -> Iterator[SqlStore]:
    """A store of its own that reaches the same database over the wire."""
    url = store.engine.url.set(port=wire.port).render_as_string(hide_password=False)
    with opened(url, **({"timeout": TIMEOUT} | settings)) as found:
        yield found


@pytest.fixture
def store(wire: Wire, postgres_store: SqlStore) -> Iterator[SqlStore]:
    with behind(wire, postgres_store) as found:
        write(found)
        yield found


def write(store: SqlStore) -> None:
    with store.begin() as work:
        work.audit.add(audit_event())
        work.commit()


def read(store: SqlStore) -> None:
    with store.reading() as found:
        found.users.by_email("ann@example.com")


def refused(call: Callable[[SqlStore], None], store: SqlStore) -> float:
    """The seconds after which a call was told that the database is away, and that trying again at once is no use."""
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as raised:
        call(store)
    assert not isinstance(raised.value, TransactionConflict)
    return time.monotonic() - started


def goes_through(call: Callable[[SqlStore], None], store: SqlStore) -> bool:
    try:
        call(store)
    except DatabaseUnavailable:
        return False
    return True


WAYS: list[Callable[[SqlStore], None]] = [write, read, SqlStore.check]


# Silence


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_falls_silent_is_given_up_in_time(store: SqlStore, wire: Wire, way: Any) -> None:
    wire.go_silent()
    assert refused(way, store) < IN_TIME
    assert_nothing_checked_out(store)


@pytest.mark.parametrize("way", WAYS)
def test_it_heals_by_itself_when_the_server_speaks_again(store: SqlStore, wire: Wire, way: Any) -> None:
    wire.go_silent()
    refused(way, store)
    wire.pass_on()
    assert eventually(lambda: goes_through(way, store), OPEN_SECONDS + 5)


def test_silence_in_the_middle_of_a_unit_of_work_ends_it_in_time(
    store: SqlStore, wire: Wire, postgres_store: SqlStore
) -> None:
    def work_in_silence(own: SqlStore) -> None:
        with own.begin() as work:
            work.audit.add(audit_event())
            wire.go_silent()
            work.audit.add(audit_event())

    assert refused(work_in_silence, store) < IN_TIME
    assert len(events_in(postgres_store)) == 1


def test_silence_at_the_commit_ends_in_time_and_is_no_conflict(store: SqlStore, wire: Wire) -> None:
    def commit_in_silence(own: SqlStore) -> None:
        with own.begin() as work:
            work.audit.add(audit_event())
            wire.go_silent()
            work.commit()

    assert refused(commit_in_silence, store) < IN_TIME


def test_all_of_a_unit_of_work_has_one_deadline(store: SqlStore) -> None:
    """Statements that are each in time, and together are not."""
    steps: list[int] = []

    def count_steps(own: SqlStore) -> None:
        with own.begin() as work:
            for number in range(20):
                work._connection.execute(text("SELECT pg_sleep(0.3)"))
                steps.append(number)

    assert refused(count_steps, store) < IN_TIME
    assert 1 <= len(steps) <= 3


def test_the_deadline_of_one_unit_of_work_is_not_that_of_the_next(store: SqlStore) -> None:
    for _ in range(3):
        with store.begin() as work:
            work._connection.execute(text("SELECT pg_sleep(0.5)"))
            work.commit()


def test_a_connection_that_was_given_up_is_not_used_again(store: SqlStore, wire: Wire) -> None:
    """Its answer may still come, and would be taken for that to the next question."""
    assert wire.connections == 1
    with store.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
    assert isinstance(driver, DeadlineConnection)
    wire.go_silent()
    refused(read, store)
    assert driver.closed
    wire.pass_on()
    assert eventually(lambda: goes_through(write, store), OPEN_SECONDS + 5)
    assert wire.connections > 1
    with store.engine.connect() as connection:
        assert connection.connection.driver_connection is not driver


def test_giving_a_connection_back_takes_no_longer_either(store: SqlStore, wire: Wire) -> None:
    """The rollback at the end of a unit of work that found its deadline over."""

    def leave_in_silence(own: SqlStore) -> None:
        with own.begin() as work:
            work.audit.add(audit_event())
            time.sleep(TIMEOUT.total_seconds() - 0.2)  # work of ours, in which the time passes
            wire.go_silent()

    with within(IN_TIME + LEAST_SECONDS), suppress(DatabaseUnavailable):
        leave_in_silence(store)
    wire.pass_on()
    assert eventually(lambda: goes_through(write, store), OPEN_SECONDS + 5)


def test_a_new_connection_to_a_silent_server_is_given_up_in_time(wire: Wire, postgres_store: SqlStore) -> None:
    wire.go_silent()
    with behind(wire, postgres_store, timeout=timedelta(seconds=2)) as store:
        assert refused(read, store) < 2.9


# The breaker


def test_while_the_server_is_silent_nobody_else_waits(store: SqlStore, wire: Wire) -> None:
    wire.go_silent()
    refused(read, store)
    with within(0.3):
        assert [goes_through(way, store) for way in WAYS * 10] == [False] * 30


def test_of_many_who_ask_a_silent_server_one_waits_and_the_others_do_not(store: SqlStore, wire: Wire) -> None:
    """After the rest, one finds out for all of them."""
    wire.go_silent()
    refused(read, store)
    time.sleep(OPEN_SECONDS + 0.05)  # the rest itself
    start = threading.Barrier(16)

    def ask() -> float:
        start.wait(10)
        return refused(read, store)

    with ThreadPoolExecutor(16) as pool:
        waited = [future.result(20) for future in [pool.submit(ask) for _ in range(16)]]
    probing = TIMEOUT.total_seconds() * SHARE
    assert sum(seconds > 0.9 * probing for seconds in waited) == 1
    assert max(waited) < probing + 0.5


def test_when_the_server_is_back_everybody_gets_through(store: SqlStore, wire: Wire) -> None:
    wire.go_silent()
    refused(read, store)
    wire.pass_on()
    assert eventually(lambda: goes_through(read, store), OPEN_SECONDS + 5)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: goes_through(write, store), range(32)))


def test_a_server_that_closes_the_door_is_asked_by_one_at_a_time(wire: Wire, postgres_store: SqlStore) -> None:
    wire.is_refusing = True
    with behind(wire, postgres_store) as store:
        refused(read, store)
        asked = wire.connections
        with within(OPEN_SECONDS - 0.1):
            assert [goes_through(read, store) for _ in range(50)] == [False] * 50
        assert wire.connections == asked
        wire.is_refusing = False
        assert eventually(lambda: goes_through(read, store), OPEN_SECONDS + 5)


def test_connections_that_break_in_a_unit_of_work_are_a_conflict_and_trip_nothing(store: SqlStore, wire: Wire) -> None:
    """As in a restart of the server: what was lost before the commit may be run again at once, and succeeds."""

    def break_in_the_middle() -> None:
        with store.begin() as work:
            work.audit.add(audit_event())
            wire.reset()
            work.audit.add(audit_event())

    with pytest.raises(TransactionConflict):
        break_in_the_middle()
    assert goes_through(read, store)
    assert goes_through(write, store)


# Busy and refusing servers are no silent ones


def assert_not_tripped(store: SqlStore) -> None:
    assert [goes_through(read, store) for _ in range(10)] == [True] * 10


def test_a_row_that_somebody_holds_trips_nothing(store: SqlStore, postgres_store: SqlStore) -> None:
    ann = account()
    stored(postgres_store, ann)

    def rename(own: SqlStore) -> None:
        with own.begin() as work:
            work.users.set_display_name(ann.user.id, "Anna", at=NOW)
            work.commit()

    with postgres_store.begin() as holder:
        holder.users.lock(ann.user.id)
        assert refused(rename, store) < IN_TIME
        assert_not_tripped(store)
    rename(store)


def test_a_statement_that_takes_too_long_trips_nothing(store: SqlStore) -> None:
    def take_long(own: SqlStore) -> None:
        with own.reading() as found:
            found._connection.execute(text("SELECT pg_sleep(5)"))

    assert refused(take_long, store) < IN_TIME
    assert_not_tripped(store)


def dawdle(store: SqlStore) -> None:
    """Statements that are each in time, and together are not: as the deletion of an account with a long history."""
    with store.begin() as work:
        for _ in range(20):
            work._connection.execute(text("SELECT pg_sleep(0.3)"))


def test_a_unit_of_work_that_takes_too_long_trips_nothing(store: SqlStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        long = [pool.submit(refused, dawdle, store) for _ in range(4)]
        while not all(work.done() for work in long):
            assert goes_through(read, store)
        assert max(work.result(0) for work in long) < IN_TIME
    assert_not_tripped(store)


def test_one_that_waited_too_long_for_the_pool_to_connect_trips_nothing(wire: Wire, postgres_store: SqlStore) -> None:
    """The pool's one connection is given up behind long work, and there is no time left to make another."""
    with behind(wire, postgres_store, pool_size=1) as store, ThreadPoolExecutor(2) as pool:
        long = pool.submit(refused, dawdle, store)
        time.sleep(0.5)
        late = pool.submit(refused, read, store)
        assert max(long.result(10), late.result(10)) < IN_TIME
        assert_not_tripped(store)


def test_an_exhausted_pool_trips_nothing(wire: Wire, postgres_store: SqlStore) -> None:
    with behind(wire, postgres_store, pool_size=1) as store, ThreadPoolExecutor(1) as pool:
        with store.begin():
            second = pool.submit(refused, write, store)
            wait([second], timeout=10)
        assert second.result(0) < IN_TIME
        assert_not_tripped(store)


def test_a_read_only_server_trips_nothing(store: SqlStore) -> None:
    def write_to_a_standby(own: SqlStore) -> None:
        with own.begin() as work:
            work._connection.execute(text("SET TRANSACTION READ ONLY"))
            work.audit.add(audit_event())

    refused(write_to_a_standby, store)
    assert_not_tripped(store)


@pytest.fixture
def guest(postgres_store: SqlStore) -> Iterator[str]:
    """Somebody for whom the server has room once."""
    name = f"guest_{secrets.token_hex(4)}"
    with postgres_store.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' CONNECTION LIMIT 1"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"))
    yield name
    with postgres_store.engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))


def test_a_server_with_no_room_for_more_connections_trips_nothing(
    wire: Wire, postgres_store: SqlStore, guest: str
) -> None:
    """Those that are connected are served as before; a full server is busy, not away."""
    url = postgres_store.engine.url.set(port=wire.port, username=guest, password=guest)
    with opened(url.render_as_string(hide_password=False), timeout=TIMEOUT, pool_size=5) as store:
        with store.reading() as found:
            found.users.by_email("ann@example.com")
            refused(read, store)
        assert_not_tripped(store)


# Afterwards


def test_the_pool_is_whole_again_after_many_were_given_up(store: SqlStore, wire: Wire) -> None:
    wire.go_silent()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: goes_through(write, store), range(8)))
    assert_nothing_checked_out(store)
    wire.pass_on()
    assert eventually(lambda: goes_through(write, store), OPEN_SECONDS + 5)
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda _: goes_through(read, store), range(60)))
