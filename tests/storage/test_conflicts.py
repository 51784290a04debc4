"""What the database undoes is run again by `retried`, and is then done exactly once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import DBAPIError

from core.app import AuthApp, build
from core.audit.model import EventKind
from core.errors import DatabaseUnavailable, TransactionConflict
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import Principal, TokenPair
from core.sql_store import SqlStore
from core.storage.retries import ATTEMPTS, retried
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.database_faults import end_connections, meanwhile, mortal, opened, server_options, url_of
from tests.support.settings import make_settings
from tests.support.values import NOW, account, account_in, audit_event, events_in, session_in, stored

CLIENT = Origin()


def _state(error: BaseException) -> str | None:
    """The SQLSTATE behind a conflict."""
    assert isinstance(error.__cause__, DBAPIError)
    return getattr(error.__cause__.orig, "sqlstate", None)


@contextmanager
def _collecting(conflicts: list[TransactionConflict]) -> Iterator[None]:
    try:
        yield
    except TransactionConflict as conflict:
        conflicts.append(conflict)
        raise


# The rule itself, on a real database


def test_work_on_a_lost_connection_is_done_exactly_once(postgres_store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_once(store: SqlStore) -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            if len(attempts) == 1:
                end_connections(store)
            work.audit.add(audit_event())
            work.commit()

    with mortal(postgres_store) as store:
        work_once(store)
    assert len(attempts) == 2
    assert len(events_in(postgres_store)) == 2


def test_work_whose_commit_is_in_doubt_is_not_run_again(postgres_store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_once(store: SqlStore) -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            end_connections(store)
            work.commit()

    with mortal(postgres_store) as store, pytest.raises(DatabaseUnavailable):
        work_once(store)
    assert len(attempts) == 1


def test_a_database_that_always_undoes_is_given_up_on(postgres_store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_in_vain(store: SqlStore) -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            end_connections(store)
            work.audit.add(audit_event())

    with mortal(postgres_store) as store, pytest.raises(TransactionConflict):
        work_in_vain(store)
    assert len(attempts) == ATTEMPTS


def test_a_deadlock_is_a_conflict_and_both_get_through(postgres_store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(postgres_store, ann, bob)
    both_hold_one = threading.Barrier(2)
    conflicts: list[TransactionConflict] = []

    def rename_both(first: uuid.UUID, second: uuid.UUID, name: str) -> int:
        attempts: list[int] = []

        @retried
        def rename() -> None:
            attempts.append(1)
            with _collecting(conflicts), postgres_store.begin() as work:
                work.users.set_display_name(first, name, at=NOW)
                if len(attempts) == 1:
                    both_hold_one.wait(10)
                work.users.set_display_name(second, name, at=NOW)
                work.commit()

        rename()
        return len(attempts)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(rename_both, ann.user.id, bob.user.id, "one")
        two = pool.submit(rename_both, bob.user.id, ann.user.id, "two")
        attempts = {one.result(20), two.result(20)}
    assert attempts == {1, 2}
    assert [_state(conflict) for conflict in conflicts] == ["40P01"]
    names = {account_in(postgres_store, owner.user.id).user.display_name for owner in (ann, bob)}
    assert len(names) == 1


def test_a_serialisation_failure_is_a_conflict_and_both_get_through(postgres_store: SqlStore) -> None:
    """Each counts and then adds: run one after the other, as SERIALIZABLE promises, they count 0 and 1."""
    both_have_counted = threading.Barrier(2)
    conflicts: list[TransactionConflict] = []

    def count_and_rename(store: SqlStore, mine: uuid.UUID, other: uuid.UUID) -> None:
        attempts: list[int] = []

        @retried
        def count() -> None:
            attempts.append(1)
            with _collecting(conflicts), store.begin() as work:
                found = work.users.by_id(other)
                assert found is not None
                if len(attempts) == 1:
                    both_have_counted.wait(10)
                work.users.set_display_name(mine, f"{found.user.display_name}+1", at=NOW)
                work.commit()

        count()

    ann, bob = account(display_name="0"), account("bob@example.com", display_name="0")
    stored(postgres_store, ann, bob)
    serializable = server_options(postgres_store, default_transaction_isolation="serializable")
    with serializable as store, ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(count_and_rename, store, ann.user.id, bob.user.id),
            pool.submit(count_and_rename, store, bob.user.id, ann.user.id),
        ]
        for future in futures:
            future.result(20)
    names = {account_in(postgres_store, owner.user.id).user.display_name for owner in (ann, bob)}
    assert names == {"0+1", "0+1+1"}
    assert [_state(conflict) for conflict in conflicts] == ["40001"]


# The use cases


@pytest.fixture
def dying(postgres_store: SqlStore) -> Iterator[SqlStore]:
    with mortal(postgres_store) as store:
        yield store


@pytest.fixture
def app(dying: SqlStore) -> AuthApp:
    return build(make_settings(), store=dying, clock=FakeClock(NOW))


@pytest.fixture
def pair(app: AuthApp) -> TokenPair:
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    return app.authentication.login(EMAIL, PASSWORD, CLIENT)


USE_CASES: dict[str, Callable[[AuthApp, TokenPair, Principal], object]] = {
    "sign up": lambda app, _pair, _ann: app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT),
    "log in": lambda app, _pair, _ann: app.authentication.login(EMAIL, PASSWORD, CLIENT),
    "whoami": lambda app, pair, _ann: app.sessions.whoami(pair.access_token),
    "refresh": lambda app, pair, _ann: app.sessions.refresh(pair.refresh_token, CLIENT),
    "list sessions": lambda app, _pair, ann: app.sessions.live(ann),
    "end sessions": lambda app, _pair, ann: app.sessions.end_all(ann, CLIENT, keep_current=True),
    "rename": lambda app, _pair, ann: app.accounts.rename(ann, "Anna", CLIENT),
    "change password": lambda app, _pair, ann: app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT),
    "log out": lambda app, _pair, ann: app.sessions.logout(ann, CLIENT),
    "list keys": lambda app, _pair, _ann: app.keys.keys(),
}


@pytest.mark.parametrize("use_case", USE_CASES)
def test_the_first_request_after_a_restart_of_the_server_succeeds(
    dying: SqlStore, app: AuthApp, pair: TokenPair, use_case: str
) -> None:
    principal = app.sessions.whoami(pair.access_token)
    end_connections(dying)
    USE_CASES[use_case](app, pair, principal)


def test_a_refresh_overtaken_by_another_gives_the_same_successor(
    postgres_store: SqlStore, app: AuthApp, pair: TokenPair
) -> None:
    with opened(url_of(postgres_store)) as faster_store:
        faster = build(make_settings(), store=faster_store, clock=FakeClock(NOW))
        won: list[TokenPair] = []
        overtake = meanwhile(
            _sql(app), "UPDATE sessions", lambda: won.append(faster.sessions.refresh(pair.refresh_token, CLIENT))
        )
        with overtake:
            lost = app.sessions.refresh(pair.refresh_token, CLIENT)
    assert lost.refresh_token == won[0].refresh_token
    assert session_in(postgres_store, app.sessions.whoami(lost.access_token).session_id).generation == 1


def test_a_refresh_overtaken_by_a_logout_is_refused(postgres_store: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    principal = app.sessions.whoami(pair.access_token)
    with opened(url_of(postgres_store)) as faster_store:
        faster = build(make_settings(), store=faster_store, clock=FakeClock(NOW))
        overtake = meanwhile(_sql(app), "UPDATE sessions", lambda: faster.sessions.logout(principal, CLIENT))
        with overtake, pytest.raises(InvalidRefreshToken):
            app.sessions.refresh(pair.refresh_token, CLIENT)
    assert session_in(postgres_store, principal.session_id).generation == 0


def test_a_reuse_overtaken_by_another_is_recorded_once(postgres_store: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    app.sessions.refresh(app.sessions.refresh(pair.refresh_token, CLIENT).refresh_token, CLIENT)

    def reuse(service: AuthApp) -> None:
        with pytest.raises(InvalidRefreshToken):
            service.sessions.refresh(pair.refresh_token, CLIENT)

    with opened(url_of(postgres_store)) as faster_store:
        faster = build(make_settings(), store=faster_store, clock=FakeClock(NOW))
        with meanwhile(_sql(app), "UPDATE sessions", lambda: reuse(faster)):
            reuse(app)
    kinds = [event.kind for event in events_in(postgres_store)]
    assert kinds.count(EventKind.REFRESH_TOKEN_REUSED) == 1


def _sql(app: AuthApp) -> SqlStore:
    assert isinstance(app.store, SqlStore)
    return app.store
