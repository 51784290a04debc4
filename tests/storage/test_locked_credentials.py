"""A login holds the credentials that it checked: no password change fits between the check and the new session."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.sessions.model import EndReason
from core.sql_store import SqlStore
from core.users.model import User
from tests.support.database_faults import wait_for_blocked
from tests.support.values import HASH, NOW, account, session, session_in, stored

ANN = account()
ID = ANN.user.id


def _change_password(store: SqlStore) -> bool:
    with store.begin() as work:
        changed = work.users.replace_password(ID, old_hash=HASH, new_hash="new", at=NOW)
        work.sessions.end_all(ID, at=NOW, reason=EndReason.PASSWORD_CHANGED)
        work.commit()
    return changed


def _hold(store: SqlStore, password_hash: str) -> User | None:
    with store.begin() as work:
        return work.users.lock_credentials(ID, password_hash)


def test_a_password_change_waits_for_a_login_and_then_ends_its_session(postgres_store: SqlStore) -> None:
    stored(postgres_store, ANN)
    login = session(ID)
    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            assert work.users.lock_credentials(ID, HASH) == ANN.user
            change = pool.submit(_change_password, postgres_store)
            wait_for_blocked(postgres_store)
            work.sessions.add(login)
            work.commit()
        assert change.result(10)
    assert session_in(postgres_store, login.id).ended_at == NOW


def test_a_password_change_goes_on_where_a_login_is_given_up(postgres_store: SqlStore) -> None:
    stored(postgres_store, ANN)
    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            work.users.lock_credentials(ID, HASH)
            change = pool.submit(_change_password, postgres_store)
            wait_for_blocked(postgres_store)
        assert change.result(10)


@pytest.mark.parametrize(("password_hash", "held"), [(HASH, False), ("new", True)], ids=["the old hash", "the new"])
def test_a_login_that_comes_second_waits_and_sees_the_new_hash(
    postgres_store: SqlStore, password_hash: str, *, held: bool
) -> None:
    stored(postgres_store, ANN)
    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            work.users.replace_password(ID, old_hash=HASH, new_hash="new", at=NOW)
            login = pool.submit(_hold, postgres_store, HASH)
            wait_for_blocked(postgres_store)
            work.commit()
        assert login.result(10) is None
    assert (_hold(postgres_store, password_hash) is not None) == held


def test_a_login_that_comes_second_to_an_undone_change_gets_in(postgres_store: SqlStore) -> None:
    stored(postgres_store, ANN)
    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            work.users.replace_password(ID, old_hash=HASH, new_hash="new", at=NOW)
            login = pool.submit(_hold, postgres_store, HASH)
            wait_for_blocked(postgres_store)
        assert login.result(10) == ANN.user


def test_what_holds_credentials_is_over_before_what_changes_them_begins(store: SqlStore) -> None:
    """Whichever comes first: the login's session is seen by the change, or the change is seen by the login."""
    stored(store, ANN)
    together = threading.Barrier(2)
    login = session(ID)

    def log_in() -> bool:
        together.wait(10)
        with store.begin() as work:
            if work.users.lock_credentials(ID, HASH) is None:
                return False
            work.sessions.add(login)
            work.commit()
        return True

    def change() -> bool:
        together.wait(10)
        return _change_password(store)

    with ThreadPoolExecutor(2) as pool:
        logged_in, changed = pool.submit(log_in), pool.submit(change)
        assert changed.result(10)
        if logged_in.result(10):
            assert session_in(store, login.id).ended_at == NOW
