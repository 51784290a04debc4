"""Housekeeping: what is due by itself is done.

The next key is published in time; what is over goes when its time has come, in small batches, and in nobody's way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select

from core import background, housekeeping
from core.app import AuthApp, build, build_key_ring
from core.audit.model import EventKind
from core.capabilities import CAPABILITIES
from core.clock import new_id
from core.errors import DatabaseUnavailable
from core.housekeeping import BATCH, Housekeeper
from core.mail.model import Message, MessageKind, OneTimeToken, Purpose
from core.origin import Origin
from core.settings.groups import AuditSettings, MailSettings, ThrottleSettings, TokenSettings
from core.settings.whole import Settings
from core.sql_store import SqlStore, metadata
from core.store import UnitOfWork
from core.throttling.model import Counter
from core.tokens.model import Revocation, RevocationKind, SigningKey
from core.users.model import Account
from core.users.sql import users
from tests.support.api import EMAIL, PASSWORD
from tests.support.clock import FakeClock
from tests.support.database_faults import opened, url_of
from tests.support.settings import make_settings
from tests.support.values import NOW, account, audit_event, device, events_in, session, stored

TICK = timedelta(seconds=1)
DAY = timedelta(days=1)
UNVERIFIED = timedelta(days=30)
KEPT_MESSAGES, KEPT_EVENTS = timedelta(hours=5), timedelta(days=400)
PURGES = {table: purge for one in CAPABILITIES for table, purge in one.purges.items()}
KINDS = tuple(PURGES)


def housekeeper(store: SqlStore, now: datetime = NOW) -> Housekeeper:
    settings = make_settings(
        mail=MailSettings(mail_retention=KEPT_MESSAGES), audit=AuditSettings(retention=KEPT_EVENTS)
    )
    clock = FakeClock(now)
    ring = build_key_ring(settings, store=store, clock=clock)
    return Housekeeper(store=store, clock=clock, ring=ring, settings=settings, purges=PURGES)


def count(store: SqlStore, table: str) -> int:
    """How many rows of a table there are, but for what is left of deleted accounts."""
    rows = select(func.count()).select_from(metadata.tables[table])
    with store.engine.connect() as connection:
        return connection.scalar(rows if table != "users" else rows.where(users.c.deleted_at.is_(None))) or 0


# A row of each kind whose time ends at a given moment

ANN = account()


def message(**changes: Any) -> Message:
    values: dict[str, Any] = {
        "id": new_id(NOW - 500 * DAY),
        "kind": MessageKind.PASSWORD_RESET,
        "user_id": ANN.user.id,
        "canonical_email": None,
        "address": None,
        "languages": "",
        "facts": {},
        "seed": b"",
        "created_at": NOW - 500 * DAY,
        "due_at": None,
    }
    return Message(**values | changes)


def add_session(work: UnitOfWork, over: datetime) -> None:
    end = over - 7 * DAY
    began = end - 90 * DAY
    work.sessions.add(session(ANN.user.id, id=new_id(began), created_at=began, expires_at=end, idle_expires_at=end))


def add_device(work: UnitOfWork, over: datetime) -> None:
    work.devices.add(device(ANN.user.id, id=new_id(NOW), expires_at=over))


def add_ended_session(work: UnitOfWork, over: datetime) -> None:
    work.sessions.add(session(ANN.user.id, ended_at=over - 7 * DAY))


def add_sent_message(work: UnitOfWork, over: datetime) -> None:
    work.outbox.add(message(sent_at=over - KEPT_MESSAGES))


def add_dead_message(work: UnitOfWork, over: datetime) -> None:
    work.outbox.add(message(dead_at=over - 30 * DAY))


def add_link(work: UnitOfWork, over: datetime) -> None:
    end = over
    message_id = new_id(end)
    token = OneTimeToken(
        id=message_id,
        user_id=ANN.user.id,
        purpose=Purpose.PASSWORD_RESET,
        digest=message_id.bytes * 2,
        address=EMAIL,
        created_at=end - TICK,
        expires_at=end,
    )
    work.one_time_tokens.save(token)


def add_counter(work: UnitOfWork, over: datetime) -> None:
    name = new_id(over).hex
    work.counters.lock([name], now=NOW)
    work.counters.save(name, Counter(count=1, at=NOW), expires_at=over)


def add_revocation(work: UnitOfWork, over: datetime) -> None:
    work.revocations.add(
        [Revocation(id=new_id(NOW), kind=RevocationKind.SESSION, value_hash="h", not_before=None, expires_at=over)]
    )


def add_event(work: UnitOfWork, over: datetime) -> None:
    at = over - KEPT_EVENTS
    work.audit.add(audit_event(id=new_id(at), at=at))


def add_unverified_account(work: UnitOfWork, over: datetime) -> None:
    made = over - UNVERIFIED
    unused = account(f"{new_id(made).hex}@example.com", id=new_id(made), created_at=made)
    assert work.users.add(unused, canonical_email=unused.user.email)
    work.unverified_accounts.postpone([unused.user.id], until=over)


ROWS: dict[str, tuple[str, Callable[[UnitOfWork, datetime], None]]] = {
    "an expired session": ("sessions", add_session),
    "a device": ("devices", add_device),
    "a session that was ended": ("sessions", add_ended_session),
    "a message that was sent": ("outbox", add_sent_message),
    "a message that was given up": ("outbox", add_dead_message),
    "a link": ("email_tokens", add_link),
    "a counter": ("throttle_counters", add_counter),
    "a revocation": ("revocations", add_revocation),
    "an audit event": ("audit_events", add_event),
    "an account that was never verified": ("users", add_unverified_account),
}


def add(store: SqlStore, name: str, over: datetime, times: int = 1) -> str:
    """Store rows, and name their kind."""
    kind, add_one = ROWS[name]
    with store.begin() as work:
        for _ in range(times):
            add_one(work, over)
        work.commit()
    return kind


def make_key(store: SqlStore, at: datetime) -> SigningKey:
    """Make the first key of a ring, which is due to be followed by another after thirty days."""
    ring = build_key_ring(make_settings(), store=store, clock=FakeClock(at))
    ring.ensure()
    return ring.signer()[0]


@pytest.fixture
def ann(store: SqlStore) -> Account:
    stored(store, ANN)
    return ANN


# What goes and what stays


def test_every_kind_of_row_is_tried_here() -> None:
    assert {kind for kind, _ in ROWS.values()} == set(KINDS)


@pytest.mark.usefixtures("ann")
@pytest.mark.parametrize("name", ROWS)
def test_a_row_goes_when_its_time_is_over_and_not_before(store: SqlStore, name: str) -> None:
    others = count(store, ROWS[name][0])
    kind = add(store, name, NOW + TICK)
    keeper = housekeeper(store)
    assert keeper.run_once() == 0
    assert count(store, kind) == others + 1
    add(store, name, NOW - TICK)
    assert keeper.run_once() == 1
    assert count(store, kind) == others + 1
    assert housekeeper(store, NOW + 2 * TICK).run_once() == 1
    assert count(store, kind) == others


@pytest.mark.usefixtures("ann")
def test_what_is_not_over_is_never_touched_however_old_it_is(store: SqlStore) -> None:
    old = NOW - 500 * DAY
    with store.begin() as work:
        work.outbox.add(message(due_at=old))
        work.sessions.add(session(ANN.user.id, id=new_id(old), created_at=old, ended_at=NOW - DAY, expires_at=NOW))
        work.commit()
    old_key = make_key(store, old)
    assert housekeeper(store).run_once() == 0
    with store.reading() as read:
        assert read.users.by_id(ANN.user.id) == ANN
        assert read.keys.all()[0] == old_key  # and its successor, which does not sign yet
        assert len(read.sessions.of(ANN.user.id)) == 1
        assert read.outbox.is_due(now=NOW)


@pytest.mark.usefixtures("ann")
def test_a_second_run_finds_nothing(store: SqlStore) -> None:
    for name in ROWS:
        add(store, name, NOW - TICK, times=3)
    keeper = housekeeper(store)
    assert keeper.run_once() == 3 * len(ROWS)
    assert keeper.run_once() == 0


def test_a_session_that_lives_longer_than_others_does_not_keep_them(store: SqlStore) -> None:
    """Ids say when a session was made; of two made together, each goes at its own end."""
    stored(store, ANN)
    began = NOW - 100 * DAY
    for end in (NOW - 8 * DAY, NOW + DAY):
        stored(store, session(ANN.user.id, id=new_id(began), created_at=began, expires_at=end))
    assert housekeeper(store).run_once() == 1
    assert count(store, "sessions") == 1


# The next signing key


def numbers(store: SqlStore) -> list[int]:
    """The numbers of the keys, in their order."""
    with store.reading() as read:
        return [found.number for found in read.keys.all()]


def test_the_next_key_is_published_once(store: SqlStore) -> None:
    make_key(store, NOW - 30 * DAY)
    keeper = housekeeper(store)
    for _ in range(3):
        assert keeper.run_once() == 0  # rows deleted
        assert numbers(store) == [1, 2]


def test_processes_that_run_at_one_moment_publish_one_key(store: SqlStore) -> None:
    make_key(store, NOW - 30 * DAY)
    start = threading.Barrier(8)

    def run(store: SqlStore) -> None:
        keeper = housekeeper(store)
        start.wait(10)
        keeper.run_once()

    patient = timedelta(seconds=30)
    with (
        opened(url_of(store), timeout=patient) as one,
        opened(url_of(store), timeout=patient) as two,
        ThreadPoolExecutor(8) as pool,
    ):
        for future in [pool.submit(run, store) for store in (one, two) * 4]:
            future.result(60)
    assert numbers(store) == [1, 2]
    assert [found.kind for found in events_in(store)] == [EventKind.KEY_ROTATED]


def test_a_key_that_cannot_be_made_does_not_keep_rows_from_being_deleted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = housekeeper(store)
    monkeypatch.setattr(keeper._ring, "rotate_when_due", failing(ValueError("a defect")))
    add(store, "an audit event", NOW - TICK)
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a defect")):
        keeper.run_once()
    assert count(store, "audit_events") == 0


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a defect")])
def test_rows_that_cannot_be_deleted_do_not_keep_the_next_key_from_being_published(
    store: SqlStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key(store, NOW - 30 * DAY)
    monkeypatch.setitem(PURGES, "sessions", failing(error))
    with pytest.raises((DatabaseUnavailable, ExceptionGroup)):
        housekeeper(store).run_once()
    assert numbers(store) == [1, 2]


def test_a_stopped_housekeeper_makes_no_key(store: SqlStore) -> None:
    make_key(store, NOW - 30 * DAY)
    keeper = housekeeper(store)
    keeper.stop()
    keeper.run_once()
    assert numbers(store) == [1]


# Batches


@contextmanager
def deletes(store: SqlStore) -> Iterator[list[int]]:
    """How many rows each transaction deletes meanwhile."""
    seen: list[int] = []

    def note(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("DELETE"):
            seen.append(cursor.rowcount)

    event.listen(store.engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.engine, "after_cursor_execute", note)


def test_many_rows_are_deleted_in_small_transactions(store: SqlStore) -> None:
    add(store, "an audit event", NOW - TICK, times=2 * BATCH + 7)
    commits: list[int] = []
    event.listen(store.engine, "commit", lambda _connection: commits.append(1))
    with deletes(store) as seen:
        assert housekeeper(store).run_once() == 2 * BATCH + 7
    # Accounts are looked for before they are deleted.
    assert [rows for rows in sorted(seen) if rows] == [7, BATCH, BATCH]
    assert len(commits) == len(KINDS) + 2
    assert count(store, "audit_events") == 0


def test_it_stops_after_the_batch_when_it_is_asked_to(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 2)
    add(store, "an audit event", NOW - TICK, times=5)
    keeper = housekeeper(store)
    purge = PURGES["audit_events"]

    def purge_and_be_told(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
        keeper._background.ask_to_stop()
        return purge(work, now, settings, limit)

    with monkeypatch.context() as patch:
        patch.setitem(PURGES, "audit_events", purge_and_be_told)
        assert keeper.run_once() == 2
    assert count(store, "audit_events") == 3
    assert keeper.run_once() == 0
    assert housekeeper(store).run_once() == 3


# Together with others


def test_several_processes_delete_every_row_once(store: SqlStore) -> None:
    stored(store, ANN)
    for name in ROWS:
        add(store, name, NOW - TICK, times=300)
    start = threading.Barrier(4)

    def run(store: SqlStore) -> int:
        start.wait(10)
        return housekeeper(store).run_once()

    patient = timedelta(seconds=30)
    with (
        opened(url_of(store), timeout=patient) as one,
        opened(url_of(store), timeout=patient) as two,
        ThreadPoolExecutor(4) as pool,
    ):
        counts = [future.result(60) for future in [pool.submit(run, store) for store in (one, two, one, two)]]
    counts += iter(housekeeper(store).run_once, 0)  # accounts go some at a time
    assert sum(counts) == 300 * len(ROWS)
    # Ann, and of each account that went a record, and an entry for verifiers.
    left = {"users": 1, "audit_events": 300, "revocations": 300}
    assert {kind: count(store, kind) for kind in KINDS} == dict.fromkeys(KINDS, 0) | left


def test_it_does_not_hinder_logins_and_refreshes(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 20)
    stored(store, ANN)
    for name in ROWS:
        add(store, name, NOW - TICK, times=150)
    with opened(url_of(store), timeout=timedelta(seconds=30)) as other:
        # The clock stands still: of more sessions than there may be, none would be idle for longer than another.
        ample = make_settings(tokens=TokenSettings(session_limit=1000), throttling=ThrottleSettings(throttle=False))
        app = build(ample, store=other, clock=FakeClock(NOW))
        app.accounts.sign_up("bob@example.com", PASSWORD, None, Origin())
        is_over = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            traffic = [pool.submit(keep_logging_in, app, is_over) for _ in range(2)]
            try:
                deleted = pool.submit(housekeeper(other).run_once).result(60)
            finally:
                is_over.set()
            served = [future.result(30) for future in traffic]
    assert deleted >= 150 * len(ROWS)
    assert all(times > 0 for times in served)


def keep_logging_in(app: AuthApp, is_over: threading.Event) -> int:
    """Log in and refresh until it is over, and at least once; how often that was."""
    times = 0
    while times == 0 or not is_over.is_set():
        pair = app.authentication.login("bob@example.com", PASSWORD, Origin())
        app.sessions.whoami(app.sessions.refresh(pair.refresh_token, Origin()).access_token)
        times += 1
    return times


# Failures


def failing(error: Exception) -> Callable[..., int]:
    def purge(*_: Any) -> int:
        raise error

    return purge


def test_a_database_that_is_away_is_said_to_be_away(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PURGES, "sessions", failing(DatabaseUnavailable()))
    with pytest.raises(DatabaseUnavailable):
        housekeeper(store).run_once()


@pytest.mark.parametrize("error", [DatabaseUnavailable(), ValueError("a defect")])
def test_a_purge_that_fails_does_not_end_the_thread(
    store: SqlStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "WAIT_AFTER_FAILURE", 0.001)
    add(store, "an audit event", NOW - TICK, times=3)
    has_failed, is_done = threading.Event(), threading.Event()

    def fail_once(*_: Any) -> int:
        if not has_failed.is_set():
            has_failed.set()
            raise error
        is_done.set()
        return 0

    # The last of the kinds, so that all others are behind it when it succeeds.
    monkeypatch.setitem(PURGES, "zzz", fail_once)
    keeper = housekeeper(store)
    keeper.start()
    try:
        assert is_done.wait(10)
    finally:
        keeper.stop()
    assert has_failed.is_set()
    assert count(store, "audit_events") == 0


def test_one_kind_that_always_fails_does_not_keep_the_others_from_being_deleted(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that cannot be deleted must not let all other tables grow for ever."""
    monkeypatch.setitem(PURGES, "sessions", failing(ValueError("a defect")))
    add(store, "an audit event", NOW - TICK)
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="a defect")):
        housekeeper(store).run_once()
    assert count(store, "audit_events") == 0


def test_a_stopped_housekeeper_deletes_nothing_more(store: SqlStore) -> None:
    add(store, "an audit event", NOW - TICK)
    keeper = housekeeper(store)
    keeper.stop()
    assert keeper.run_once() == 0
    assert count(store, "audit_events") == 1


def test_a_serving_process_keeps_house(store: SqlStore) -> None:
    add(store, "an audit event", NOW - TICK)
    make_key(store, NOW - 30 * DAY)
    app = build(make_settings(audit=AuditSettings(retention=KEPT_EVENTS)), store=store, clock=FakeClock(NOW))
    is_done = threading.Event()
    original = app.housekeeper._background._work

    def work() -> object:
        try:
            return original()
        finally:
            is_done.set()

    app.housekeeper._background._work = work
    app.housekeeper.start()
    try:
        assert is_done.wait(10)
    finally:
        app.housekeeper.stop()
    assert count(store, "audit_events") == 1  # that of the rotation
    assert numbers(store) == [1, 2]


# What it costs to find nothing


def _live_sessions(store: SqlStore, times: int) -> None:
    """Sessions of the last ninety days, none of them over."""
    rows = []
    for number in range(times):
        made = NOW - 90 * DAY * (times - number) / times
        made_session = session(ANN.user.id, id=new_id(made), created_at=made, expires_at=made + 90 * DAY)
        rows.append({column.name: getattr(made_session, column.name) for column in metadata.tables["sessions"].c})
    stored(store, ANN)
    with store.engine.begin() as connection:
        connection.execute(metadata.tables["sessions"].insert(), rows)
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE sessions")


def test_looking_for_sessions_that_are_over_reads_none_that_live(postgres_store: SqlStore) -> None:
    """Every process looks once a minute; at some millions of sessions it would not come to an end in time."""
    _live_sessions(postgres_store, 2000)
    plans: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        if statement.startswith("DELETE FROM sessions"):
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {statement}", values)
            plans.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(postgres_store.engine, "before_cursor_execute", explain)
    try:
        assert housekeeper(postgres_store).run_once() == 0
    finally:
        event.remove(postgres_store.engine, "before_cursor_execute", explain)
    assert len(plans) == 2
    assert "Seq Scan" not in "\n".join(plans)
    assert "Rows Removed by Filter" not in "\n".join(plans)
    assert count(postgres_store, "sessions") == 2000
