"""Where the database promises more than READ COMMITTED by default: work is undone, and run again or answered 503."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from core.app import AuthApp, build
from core.audit.model import EventKind
from core.errors import DatabaseUnavailable, TransactionConflict
from core.origin import Origin
from core.sessions.model import TokenPair
from core.settings.groups import PasswordSettings
from core.sql_store import SqlStore
from core.storage.retries import ATTEMPTS, retried
from core.tokens.model import parse_cursor
from tests.support.api import PASSWORD
from tests.support.clock import FakeClock
from tests.support.contract import status_of
from tests.support.database_faults import server_options
from tests.support.mail import RecordingMailer
from tests.support.settings import AMPLE, make_settings
from tests.support.values import NOW, account, account_in, events_in, stored

THREADS = 16


@pytest.fixture
def serialisable(postgres_store: SqlStore) -> Iterator[SqlStore]:
    with server_options(postgres_store, default_transaction_isolation="serializable") as store:
        yield store


@pytest.fixture
def app(serialisable: SqlStore) -> AuthApp:
    passwords = PasswordSettings(bcrypt_cost=4, hash_concurrency=16, hash_wait=timedelta(seconds=60))
    made = build(
        make_settings(passwords=passwords, throttling=AMPLE),
        store=serialisable,
        clock=FakeClock(NOW),
        mailer=RecordingMailer(),
    )
    made.keys.ensure()
    return made


def test_what_is_undone_at_the_commit_is_run_again(serialisable: SqlStore) -> None:
    """Each reads what the other writes, and both have written before either commits: the commit itself is refused."""
    ann, bob = account(), account("bob@example.com")
    stored(serialisable, ann, bob)
    both_have_written = threading.Barrier(2)
    refused: list[str] = []

    def rename_after_a_look(mine: uuid.UUID, other: uuid.UUID) -> int:
        attempts: list[int] = []

        @retried
        def rename() -> None:
            attempts.append(1)
            with serialisable.begin() as work:
                found = work.users.by_id(other)
                assert found is not None
                work.users.set_display_name(mine, f"{found.user.display_name}+1", at=NOW)
                if len(attempts) == 1:
                    both_have_written.wait(10)
                try:
                    work.commit()
                except TransactionConflict as conflict:
                    refused.append(getattr(getattr(conflict.__cause__, "orig", None), "sqlstate", ""))
                    raise

        rename()
        return len(attempts)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(rename_after_a_look, ann.user.id, bob.user.id)
        two = pool.submit(rename_after_a_look, bob.user.id, ann.user.id)
        assert {one.result(20), two.result(20)} == {1, 2}
    assert refused == ["40001"]
    names = {account_in(serialisable, owner.user.id).user.display_name for owner in (ann, bob)}
    assert names == {"Ann+1", "Ann+1+1"}


def _at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The answers, and of refusals those that mean that the database was too busy; everything else is raised."""
    start = threading.Barrier(THREADS)

    def run(share: tuple[Callable[[], Any], ...]) -> list[Any]:
        start.wait(10)
        outcomes: list[Any] = []
        for call in share:
            try:
                outcomes.append(call())
            except DatabaseUnavailable as refusal:
                outcomes.append(refusal)
        return outcomes

    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(run, calls[number::THREADS]) for number in range(THREADS)]
        return [outcome for future in futures for outcome in future.result(60)]


def test_logins_at_once_start_a_session_or_are_told_to_try_again(serialisable: SqlStore, app: AuthApp) -> None:
    emails = [f"user{number}@example.com" for number in range(2 * THREADS)]
    for email in emails:
        app.accounts.sign_up(email, PASSWORD, None, Origin())
    outcomes = _at_once(
        *(lambda email=email: app.authentication.login(email, PASSWORD, Origin()) for email in emails * 2)
    )
    pairs = [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]
    assert pairs
    assert {type(outcome) for outcome in outcomes} <= {TokenPair, TransactionConflict}
    # Nothing of what was refused is there, and all of what was answered.
    kinds = Counter(event.kind for event in events_in(serialisable))
    assert kinds[EventKind.LOGGED_IN] == len(pairs)
    for pair in pairs:
        app.sessions.whoami(pair.access_token)


def test_refreshes_and_logouts_of_different_users_at_once(app: AuthApp) -> None:
    pairs = []
    for number in range(2 * THREADS):
        app.accounts.sign_up(f"user{number}@example.com", PASSWORD, None, Origin())
        pairs.append(app.authentication.login(f"user{number}@example.com", PASSWORD, Origin()))
    principals = [app.sessions.whoami(pair.access_token) for pair in pairs]
    refreshed = _at_once(*(lambda pair=pair: app.sessions.refresh(pair.refresh_token, Origin()) for pair in pairs))
    assert {type(outcome) for outcome in refreshed} <= {TokenPair, TransactionConflict}
    ended = _at_once(*(lambda ann=ann: app.sessions.logout(ann, Origin()) for ann in principals))
    assert {type(outcome) for outcome in ended} <= {type(None), TransactionConflict}
    cursor = parse_cursor(app.revocations.read(None, wait=0).cursor)
    assert cursor is not None
    assert cursor.number == ended.count(None)


def test_work_that_is_undone_again_and_again_is_answered_503(serialisable: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def rename_while_somebody_else_does() -> None:
        attempts.append(1)
        with serialisable.begin() as work:
            work.users.by_id(ann.user.id)
            with serialisable.begin() as faster:
                faster.users.set_display_name(ann.user.id, "faster", at=NOW)
                faster.commit()
            work.users.set_display_name(ann.user.id, "slower", at=NOW)
            work.commit()

    ann = account()
    stored(serialisable, ann)
    with pytest.raises(TransactionConflict) as refused:
        rename_while_somebody_else_does()
    assert len(attempts) == ATTEMPTS
    assert status_of(type(refused.value)) == 503
    assert account_in(serialisable, ann.user.id).user.display_name == "faster"
