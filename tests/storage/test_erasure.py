"""What a deleted account left behind is erased in batches, whole, and once, by however many processes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core import housekeeping
from core.app import AuthApp, build
from core.audit.model import EventKind
from core.clock import new_id
from core.origin import Origin
from core.sql_store import SqlStore, metadata
from core.users.model import User
from tests.support.api import EMAIL, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.database_faults import opened, url_of
from tests.support.settings import make_settings
from tests.support.values import audit_event, email_token, events_in, message, session, stored

EVENTS, SESSIONS = 130, 70
ORIGIN = Origin(ip="192.0.2.7", request_id="a-request")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 10)


@pytest.fixture
def app(store: SqlStore) -> AuthApp:
    return build(make_settings(), store=store, clock=FakeClock(START))


def deleted(app: AuthApp, store: SqlStore, email: str = EMAIL) -> User:
    """An account with some history, which its owner has deleted."""
    user = app.accounts.sign_up(email, PASSWORD, None, ORIGIN)
    assert user is not None
    at = [START - timedelta(seconds=number) for number in range(EVENTS)]
    stored(store, *(session(user.id) for _ in range(SESSIONS)))
    stored(store, message(user_id=user.id), email_token(user.id))
    with store.begin() as work:
        for each in at:
            work.audit.add(audit_event(id=new_id(each), at=each, user_id=user.id))
        work.commit()
    principal = app.sessions.whoami(app.authentication.login(email, PASSWORD, ORIGIN).access_token)
    app.accounts.delete(principal, PASSWORD, ORIGIN)
    return user


def assert_erased(store: SqlStore, *gone: User) -> None:
    with store.engine.connect() as connection:
        for name in ("users", "sessions", "outbox", "email_tokens"):
            assert connection.scalar(select(func.count()).select_from(metadata.tables[name])) == 0
    events = events_in(store)
    assert {event.user_id for event in events} == {user.id for user in gone}
    assert len(events) == len(gone) * (EVENTS + 3)
    assert {event.ip for event in events} == {""}
    assert {event.request_id for event in events if event.kind is not EventKind.ACCOUNT_DELETED} == {""}


def test_of_several_accounts_all_is_erased_in_one_run(app: AuthApp, store: SqlStore) -> None:
    gone = [deleted(app, store, f"{name}@example.com") for name in ("ann", "bob", "cem")]
    app.housekeeper.run_once()
    assert_erased(store, *gone)


def test_several_processes_erase_one_account_together(app: AuthApp, store: SqlStore) -> None:
    gone = [deleted(app, store, f"{name}@example.com") for name in ("ann", "bob")]
    start = threading.Barrier(4)

    def run(own: AuthApp) -> None:
        start.wait(10)
        own.housekeeper.run_once()

    patient = timedelta(seconds=30)
    with opened(url_of(store), timeout=patient) as other, ThreadPoolExecutor(4) as pool:
        apps = [build(make_settings(), store=one, clock=FakeClock(START)) for one in (store, other) * 2]
        for future in [pool.submit(run, own) for own in apps]:
            future.result(60)
    assert_erased(store, *gone)


def test_a_process_that_stops_in_the_middle_is_followed_by_another(
    app: AuthApp, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = deleted(app, store)
    keeper = app.housekeeper
    batches: list[str] = []

    def stop_after_some(_seconds: float) -> None:
        batches.append("one")
        if len(batches) == (SESSIONS + EVENTS // 2) // 10:  # among the events
            keeper._background.ask_to_stop()

    monkeypatch.setattr(keeper._background, "rest", stop_after_some)
    keeper.run_once()
    assert {bool(event.ip) for event in events_in(store)} == {True, False}
    build(make_settings(), store=store, clock=FakeClock(START)).housekeeper.run_once()
    assert_erased(store, gone)


def test_a_deletion_wakes_the_housekeeping(app: AuthApp, store: SqlStore) -> None:
    woken = app.housekeeper._background._woken
    assert not woken.is_set()
    deleted(app, store)
    assert woken.is_set()


def test_a_new_account_with_the_address_keeps_what_is_its_own(app: AuthApp, store: SqlStore) -> None:
    deleted(app, store)
    user = app.accounts.sign_up(EMAIL, PASSWORD, None, ORIGIN)
    assert user is not None
    pair = app.authentication.login(EMAIL, PASSWORD, ORIGIN)
    app.housekeeper.run_once()
    assert app.sessions.whoami(pair.access_token).user == user
    assert {event.ip for event in events_in(store) if event.user_id == user.id} == {ORIGIN.ip}
