"""One account holds or waits for four connections with its changes, and no more; reads and refreshes are exempt."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial

import pytest

from core.app import AuthApp, build
from core.errors import AccountBusy
from core.origin import LOCAL_ORIGIN
from core.sql_store import SqlStore
from core.storage import places
from core.storage.places import PLACES, WAITING, AccountPlaces
from tests.support.api import EMAIL, PASSWORD, at_once
from tests.support.database_faults import opened, url_of, within
from tests.support.settings import make_settings

ANN, BOB = uuid.uuid4(), uuid.uuid4()
TIMEOUT = 2.0


@pytest.fixture
def account_places() -> AccountPlaces:
    return AccountPlaces(TIMEOUT)


@contextmanager
def held(own: AccountPlaces, count: int, account: uuid.UUID | None = ANN) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(own.take(account))
        yield


def is_refused(own: AccountPlaces, account: uuid.UUID = ANN) -> bool:
    try:
        with own.take(account):
            return False
    except AccountBusy:
        return True


def test_the_fifth_is_refused_after_a_quarter_of_the_time_and_others_are_not(account_places: AccountPlaces) -> None:
    with held(account_places, PLACES):
        with within(TIMEOUT / 2):
            assert is_refused(account_places)
        with within(0.1):
            assert not is_refused(account_places, BOB)
    assert not is_refused(account_places)


def test_work_in_nobodys_name_needs_no_place(account_places: AccountPlaces) -> None:
    with held(account_places, 10 * PLACES, None):
        assert not is_refused(account_places)


def test_a_place_that_becomes_free_goes_to_one_that_waits(account_places: AccountPlaces) -> None:
    with ThreadPoolExecutor(1) as pool:
        with held(account_places, PLACES):
            waiting: Future[bool] = pool.submit(is_refused, account_places)
            assert not waiting.done()
        assert waiting.result(10) is False


def test_beyond_those_that_wait_the_next_is_refused_at_once(account_places: AccountPlaces) -> None:
    with held(account_places, PLACES), ThreadPoolExecutor(WAITING) as pool:
        waiting = [pool.submit(is_refused, account_places) for _ in range(WAITING)]
        while account_places._waiting[ANN] < WAITING:
            assert not any(future.done() for future in waiting)
        with within(0.1):
            assert is_refused(account_places)
        assert all(future.result(10) for future in waiting)


def test_nothing_is_kept_of_an_account_that_has_no_work(account_places: AccountPlaces) -> None:
    with held(account_places, PLACES):
        is_refused(account_places)
    with pytest.raises(ZeroDivisionError), account_places.take(BOB):
        raise ZeroDivisionError
    assert not account_places._held
    assert not account_places._waiting


@pytest.fixture
def app(store: SqlStore) -> Iterator[AuthApp]:
    """A service with few connections, with one user."""
    with opened(url_of(store), pool_size=PLACES + 1, timeout=timedelta(seconds=4)) as small:
        app = build(make_settings(), store=small)
        app.accounts.sign_up(EMAIL, PASSWORD, None, LOCAL_ORIGIN)
        yield app


def test_who_has_all_places_leaves_connections_to_others_and_can_read_and_refresh(
    app: AuthApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAITING", 0)
    pair = app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN)
    ann = app.sessions.whoami(pair.access_token)
    with held(app.store._places, PLACES, ann.user.id):  # type: ignore[attr-defined]  # the SQL store has them
        for change in (
            lambda: app.accounts.rename(ann, "Anna", LOCAL_ORIGIN),
            lambda: app.sessions.logout(ann, LOCAL_ORIGIN),
            lambda: app.sessions.end_all(ann, LOCAL_ORIGIN, keep_current=True),
            lambda: app.accounts.delete(ann, PASSWORD, LOCAL_ORIGIN),
            lambda: app.email_verification.request(ann, LOCAL_ORIGIN),
            lambda: app.exporter.export(ann, LOCAL_ORIGIN),
        ):
            with pytest.raises(AccountBusy):
                change()
        assert app.sessions.whoami(pair.access_token) == ann
        assert len(at_once([lambda: app.sessions.refresh(pair.refresh_token, LOCAL_ORIGIN)] * 8)) == 8
    app.sessions.logout(ann, LOCAL_ORIGIN)


def test_sixteen_changes_at_once_all_come_to_pass(app: AuthApp) -> None:
    pair = app.authentication.login(EMAIL, PASSWORD, LOCAL_ORIGIN)
    ann = app.sessions.whoami(pair.access_token)
    most, lock = [0], threading.Lock()

    def rename(number: int) -> None:
        app.accounts.rename(ann, f"Ann {number}", LOCAL_ORIGIN)
        with lock:
            most[0] = max(most[0], app.store.engine.pool.checkedout())  # type: ignore[attr-defined]  # as above

    at_once([partial(rename, number) for number in range(PLACES + WAITING)])
    assert most[0] <= PLACES
