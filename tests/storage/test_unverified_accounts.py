"""Accounts that were never verified go when nobody uses them, and others never."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from core.accounts.capability import AT_ONCE
from core.app import AuthApp, build
from core.audit.model import EventKind
from core.origin import Origin
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from core.users.model import Account
from tests.support.api import OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.mail import RecordingMailer, token_of
from tests.support.settings import make_settings
from tests.support.values import NOW, account, events_in, stored

CLIENT = Origin(ip="192.0.2.7", request_id="a-request")
EMAIL = "ann@example.com"
TTL = timedelta(days=30)
TICK = timedelta(seconds=1)


def open_app(store: SqlStore, clock: FakeClock, **mail: Any) -> AuthApp:
    return build(make_settings(mail=MailSettings(**mail)), store=store, clock=clock, mailer=RecordingMailer())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def app(store: SqlStore, clock: FakeClock) -> AuthApp:
    return open_app(store, clock)


@pytest.fixture
def ann(app: AuthApp) -> None:
    app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT)
    app.housekeeper.run_once()


def exists(app: AuthApp, email: str = EMAIL) -> bool:
    with app.store.reading() as read:
        return read.users.by_email(email) is not None


@pytest.mark.usefixtures("ann")
def test_one_that_nobody_uses_goes_with_its_addresses(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    clock.advance(seconds=(TTL - TICK).total_seconds())
    app.housekeeper.run_once()
    assert exists(app)
    clock.advance(seconds=2)
    app.housekeeper.run_once()
    assert not exists(app)
    events = events_in(store)
    assert [event.kind for event in events] == [EventKind.SIGNED_UP, EventKind.ACCOUNT_EXPIRED]
    assert {event.ip for event in events} == {""}


@pytest.mark.usefixtures("ann")
def test_one_that_was_verified_stays(app: AuthApp, clock: FakeClock) -> None:
    app.mail_worker.run_once()
    mailer: Any = app.mail_worker._mailer
    app.email_verification.verify(token_of(mailer.letters[-1]), CLIENT, password=PASSWORD)
    clock.advance(days=400)
    app.housekeeper.run_once()
    assert exists(app)


@pytest.mark.usefixtures("ann")
def test_one_that_was_used_stays_until_it_was_not_for_as_long(app: AuthApp, clock: FakeClock) -> None:
    clock.advance(days=20)
    app.sessions.logout(app.sessions.whoami(app.authentication.login(EMAIL, PASSWORD, CLIENT).access_token), CLIENT)
    clock.advance(days=20)
    app.housekeeper.run_once()
    assert exists(app), "it was used 20 days ago"
    clock.advance(days=30)
    app.housekeeper.run_once()
    assert not exists(app)


@pytest.mark.usefixtures("ann")
def test_a_login_counts_when_its_session_was_deleted(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    clock.advance(days=20)
    pair = app.authentication.login(EMAIL, PASSWORD, CLIENT)
    app.sessions.logout(app.sessions.whoami(pair.access_token), CLIENT)
    with store.begin() as work:
        assert work.sessions.purge(before=NOW + 900 * TTL, made_before=NOW + 900 * TTL, limit=9) == 1
        work.commit()
    clock.advance(days=20)
    app.housekeeper.run_once()
    assert exists(app)


@pytest.mark.usefixtures("ann")
def test_a_session_that_is_refreshed_keeps_it(app: AuthApp, clock: FakeClock) -> None:
    pair = app.authentication.login(EMAIL, PASSWORD, CLIENT)
    for _ in range(8):
        clock.advance(days=10)
        pair = app.sessions.refresh(pair.refresh_token, CLIENT)
        app.housekeeper.run_once()
    assert exists(app)


@pytest.mark.usefixtures("ann")
def test_wrong_passwords_of_strangers_keep_it_not(app: AuthApp, clock: FakeClock) -> None:
    clock.advance(days=29)
    with pytest.raises(Exception, match="wrong"):
        app.authentication.login(EMAIL, OTHER_PASSWORD, CLIENT)
    clock.advance(days=2)
    app.housekeeper.run_once()
    assert not exists(app)


def test_one_that_was_imported_has_the_same_time_as_a_new_one(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    stored(store, account(EMAIL, created_at=NOW - 100 * TTL))
    app.housekeeper.run_once()
    assert exists(app)
    clock.advance(days=31)
    app.housekeeper.run_once()
    assert not exists(app)


def test_one_that_an_operator_has_deactivated_stays(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    """Its address would be free for another signup."""
    stored(store, account(EMAIL, is_active=False))
    for _ in range(3):
        app.housekeeper.run_once()
        clock.advance(days=31)
    assert exists(app)


def test_none_goes_where_the_operator_keeps_them(store: SqlStore, clock: FakeClock) -> None:
    app = open_app(store, clock, unverified_ttl=timedelta(0))
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    for _ in range(3):
        app.housekeeper.run_once()
        clock.advance(days=400)
    assert exists(app)


def test_a_longer_time_counts_at_once(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    app.housekeeper.run_once()
    patient = open_app(store, clock, unverified_ttl=3 * TTL)
    clock.advance(days=31)
    patient.housekeeper.run_once()
    assert exists(patient)


def test_many_go_some_at_a_time(store: SqlStore, app: AuthApp, clock: FakeClock) -> None:
    many: list[Account] = [account(f"user{number}@example.com") for number in range(AT_ONCE + 5)]
    stored(store, *many)
    app.housekeeper.run_once()
    clock.advance(days=31)
    # Of each, the account goes, and then its row and its one event are erased.
    assert [app.housekeeper.run_once() for _ in range(3)] == [3 * AT_ONCE, 3 * 5, 0]
