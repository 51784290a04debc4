"""08P01, which a pooler says that has lost its server: done again before the commit, never where one is in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, text

from core.app import AuthApp, build
from core.errors import DatabaseUnavailable, TransactionConflict
from core.origin import Origin
from core.sessions.model import TokenPair
from core.sql_store import SqlStore
from core.storage.retries import ATTEMPTS, retried
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.databases import empty
from tests.support.settings import make_settings
from tests.support.values import NOW, audit_event, events_in

LOST = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '08P01', MESSAGE = 'server conn crashed?'; END $$"
REFUSE_COMMITS = """
CREATE FUNCTION refuse_commits() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION USING ERRCODE = '08P01', MESSAGE = 'server conn crashed?'; END $$
"""
TRIGGER = """
CREATE CONSTRAINT TRIGGER refuse_commits AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse_commits()
"""
CLIENT = Origin()
# Of each use case in the audit log; one is not there twice where the work was done again.
EVENTS = {"whoami": 0, "refresh": 0, "ask for a reset": 0}


@pytest.fixture
def store(stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    opened = stores("postgres")
    empty(opened)
    yield opened
    empty(opened)


@contextmanager
def losing(store: SqlStore, turn: int) -> Iterator[list[str]]:
    """Let the statement whose turn it is lose the server."""
    seen: list[str] = []

    def lose(_connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: Any) -> Any:
        seen.append(statement)
        if len(seen) == turn:
            return LOST, [()] if many else ()
        return statement, parameters

    event.listen(store.engine, "before_cursor_execute", lose, retval=True)
    try:
        yield seen
    finally:
        event.remove(store.engine, "before_cursor_execute", lose)


def _lose(store: SqlStore) -> None:
    """Let the server end the transaction as a pooler does."""
    with store.begin() as work:
        work._connection.execute(text(LOST))


def test_a_server_lost_behind_a_pooler_is_a_conflict(store: SqlStore) -> None:
    with pytest.raises(TransactionConflict):
        _lose(store)
    with pytest.raises(TransactionConflict), store.reading() as read:
        read._connection.execute(text(LOST))


def test_work_that_lost_its_server_before_the_commit_is_done_exactly_once(store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_once() -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            if len(attempts) < ATTEMPTS:
                work._connection.execute(text(LOST))
            work.commit()

    work_once()
    assert len(attempts) == ATTEMPTS
    assert len(events_in(store)) == 1


def test_work_that_always_loses_its_server_is_given_up(store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_in_vain() -> None:
        attempts.append(1)
        _lose(store)

    with pytest.raises(DatabaseUnavailable):
        work_in_vain()
    assert len(attempts) == ATTEMPTS


@pytest.mark.parametrize("was_committed", [True, False])
def test_work_that_lost_its_server_during_the_commit_is_not_done_again(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, *, was_committed: bool
) -> None:
    """The pooler had sent the commit on, or had not; it says the same of both."""
    attempts: list[int] = []
    commit = store.engine.dialect.do_commit

    def lose(connection: Any) -> None:
        if was_committed:
            commit(connection)
        connection.cursor().execute(LOST)

    @retried
    def work_once() -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            work.commit()

    with monkeypatch.context() as patch:
        patch.setattr(store.engine.dialect, "do_commit", lose)
        with pytest.raises(DatabaseUnavailable) as raised:
            work_once()
    assert type(raised.value) is DatabaseUnavailable  # not a conflict, which would be tried again
    assert len(attempts) == 1
    assert len(events_in(store)) == int(was_committed)


@contextmanager
def altering(store: SqlStore) -> Iterator[Connection]:
    """A connection without the service's limits: changing a table may have to wait until an autovacuum yields."""
    engine = create_engine(store.engine.url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def refusing_commits(store: SqlStore) -> Iterator[None]:
    """The server itself answers COMMIT with 08P01: a deferred trigger runs then."""
    with altering(store) as connection:
        connection.execute(text(REFUSE_COMMITS))
        connection.execute(text(TRIGGER))
    yield
    with altering(store) as connection:
        connection.execute(text("DROP FUNCTION refuse_commits CASCADE"))


@pytest.mark.usefixtures("refusing_commits")
def test_a_commit_that_is_answered_so_by_the_server_is_not_done_again(store: SqlStore) -> None:
    attempts: list[int] = []

    @retried
    def work_once() -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            work.commit()

    with pytest.raises(DatabaseUnavailable):
        work_once()
    assert len(attempts) == 1


# The use cases


USE_CASES: dict[str, Callable[[AuthApp, TokenPair], object]] = {
    "sign up": lambda app, _pair: app.accounts.sign_up("bob@example.com", PASSWORD, None, CLIENT),
    "log in": lambda app, _pair: app.authentication.login(EMAIL, PASSWORD, CLIENT),
    "whoami": lambda app, pair: app.sessions.whoami(pair.access_token),
    "refresh": lambda app, pair: app.sessions.refresh(pair.refresh_token, CLIENT),
    "change password": lambda app, pair: app.accounts.change_password(
        app.sessions.whoami(pair.access_token), PASSWORD, OTHER_PASSWORD, CLIENT
    ),
    "log out": lambda app, pair: app.sessions.logout(app.sessions.whoami(pair.access_token), CLIENT),
    "ask for a reset": lambda app, _pair: app.password_reset.request(EMAIL, CLIENT),
    "delete": lambda app, pair: app.accounts.delete(app.sessions.whoami(pair.access_token), PASSWORD, CLIENT),
}


@pytest.mark.parametrize("use_case", USE_CASES)
def test_a_use_case_goes_on_whatever_statement_of_it_loses_the_server(store: SqlStore, use_case: str) -> None:
    """Its first statement in one run, its second in the next, each with a user of its own, until all were lost once."""
    app = build(make_settings(), store=store, clock=FakeClock(NOW))
    turn, lost = 1, True
    while lost:
        empty(store)
        app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
        pair = app.authentication.login(EMAIL, PASSWORD, CLIENT)
        before = len(events_in(store))
        with losing(store, turn) as seen:
            USE_CASES[use_case](app, pair)
        lost = len(seen) >= turn
        assert len(events_in(store)) - before == EVENTS.get(use_case, 1), f"at statement {turn}"
        turn += 1
    assert turn > 2
