"""What a use case costs the database, counted where it leaves the driver."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from core.app import AuthApp, build
from core.clock import new_id
from core.mail.model import MessageKind, Purpose
from core.origin import Origin
from core.sessions.model import TokenPair
from core.settings.groups import ThrottleSettings
from core.sql_store import SqlStore
from core.store import UnitOfWork
from core.throttling.errors import TooManyAttempts
from core.users.errors import EmailTaken
from tests.support.api import EMAIL, PASSWORD
from tests.support.clock import FakeClock
from tests.support.database_faults import opened, overheard, url_of
from tests.support.settings import make_settings
from tests.support.values import NOW, account, audit_event, email_token, message, session, stored

CLIENT = Origin()


@pytest.fixture
def single(store: SqlStore) -> Iterator[SqlStore]:
    """A store with one connection, to which one can listen."""
    with opened(url_of(store), pool_size=1) as other:
        yield other


@pytest.fixture
def app(single: SqlStore) -> AuthApp:
    # What the throttle adds is counted with its counters; here it would stand in front of each use case.
    unthrottled = ThrottleSettings(throttle=False)
    return build(make_settings(throttling=unthrottled), store=single, clock=FakeClock(NOW))


@pytest.fixture
def pair(app: AuthApp) -> TokenPair:
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    return app.authentication.login(EMAIL, PASSWORD, CLIENT)


def _verbs(statements: list[str]) -> list[str]:
    return [statement.split()[0] for statement in statements]


def test_a_principal_is_one_statement_without_a_transaction_around_it(single: SqlStore) -> None:
    ann = account()
    login = session(ann.user.id)
    stored(single, ann, login)
    with overheard(single) as heard, single.reading() as read:
        assert read.sessions.principal(login.id, ann.user.id, now=NOW) == ann.user
    assert _verbs(heard) == ["SELECT"]


def test_a_refused_principal_is_one_statement_too(single: SqlStore) -> None:
    ann = account()
    stored(single, ann)
    with overheard(single) as heard, single.reading() as read:
        assert read.sessions.principal(ann.user.id, ann.user.id, now=NOW) is None
    assert _verbs(heard) == ["SELECT"]


def test_reading_after_a_transaction_is_one_statement_again(single: SqlStore) -> None:
    ann = account()
    stored(single, ann)
    with single.begin() as work:
        work.users.by_id(ann.user.id)
    with overheard(single) as heard, single.reading() as read:
        read.users.by_id(ann.user.id)
    assert _verbs(heard) == ["SELECT"]


def test_a_transaction_after_reading_is_a_transaction_again(single: SqlStore) -> None:
    ann = account()
    with single.reading() as read:
        read.users.by_id(ann.user.id)
    with overheard(single) as heard, single.begin() as work:
        work.users.add(ann, canonical_email=EMAIL)
    assert _verbs(heard) == ["BEGIN", "INSERT", "ROLLBACK"]


def test_whoami_is_one_statement(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    with overheard(single) as heard:
        app.sessions.whoami(pair.access_token)
    assert _verbs(heard) == ["SELECT"]


def test_a_refresh_is_one_read_and_one_conditional_update(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    with overheard(single) as heard:
        app.sessions.refresh(pair.refresh_token, CLIENT)
    assert _verbs(heard) == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]


def test_listing_sessions_is_one_statement(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    principal = app.sessions.whoami(pair.access_token)
    with overheard(single) as heard:
        app.sessions.live(principal)
    assert _verbs(heard) == ["SELECT"]


def test_the_check_of_readiness_is_one_statement(single: SqlStore) -> None:
    with overheard(single) as heard:
        single.check()
    assert _verbs(heard) == ["SELECT"]


def test_asking_for_a_reset_is_one_row_whoever_has_the_address(single: SqlStore, app: AuthApp) -> None:
    """Nothing is looked up, so that no clock tells who has an account."""
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    for email in (EMAIL, "nobody@example.com"):
        with overheard(single) as heard:
            app.password_reset.request(email, CLIENT)
        assert _verbs(heard) == ["BEGIN", "INSERT", "COMMIT"]


def test_a_signup_costs_the_same_statements_whoever_has_the_address(single: SqlStore, app: AuthApp) -> None:
    for _ in range(2):
        with overheard(single) as heard, suppress(EmailTaken):
            app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
        assert _verbs(heard) == ["BEGIN", "INSERT", "INSERT", "INSERT", "COMMIT"]


def test_an_attempt_is_a_read_and_a_transaction_and_one_that_is_refused_is_the_read_alone(single: SqlStore) -> None:
    """Who is refused takes no lock: all of them would wait for the same one, each with a connection."""
    throttling = ThrottleSettings(throttle_mail=2)
    app = build(make_settings(throttling=throttling), store=single, clock=FakeClock(NOW))
    costs = []
    for _ in range(3):
        with overheard(single) as heard, suppress(TooManyAttempts):
            app.password_reset.request(EMAIL, CLIENT)
        costs.append(_verbs(heard))
    message_of_its_own = ["BEGIN", "INSERT", "COMMIT"]
    assert costs == [
        ["SELECT", "BEGIN", "INSERT", "UPDATE", "COMMIT", *message_of_its_own],
        ["SELECT", "BEGIN", "INSERT", "UPDATE", "INSERT", "COMMIT", *message_of_its_own],  # noted: it is spent
        ["SELECT"],
    ]


def test_a_look_into_an_empty_outbox_is_one_statement_without_a_transaction(single: SqlStore, app: AuthApp) -> None:
    with overheard(single) as heard:
        assert app.mail_worker.run_once() == 0
    assert _verbs(heard) == ["SELECT"]


def test_a_claim_is_one_conditional_update(single: SqlStore) -> None:
    stored(single, message())
    with overheard(single) as heard, single.begin() as work:
        assert work.outbox.claim(now=NOW, lease=timedelta(minutes=2)) is not None
        work.commit()
    assert _verbs(heard) == ["BEGIN", "UPDATE", "COMMIT"]


def test_a_token_is_used_by_one_conditional_update(single: SqlStore) -> None:
    ann = account()
    token = email_token(ann.user.id)
    stored(single, ann, token)
    with overheard(single) as heard, single.begin() as work:
        assert work.one_time_tokens.use(token.id, at=NOW)
        work.commit()
    assert _verbs(heard) == ["BEGIN", "UPDATE", "COMMIT"]


def test_deleting_an_account_is_one_transaction(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    principal = app.sessions.whoami(pair.access_token)
    with overheard(single) as heard:
        app.accounts.delete(principal, PASSWORD, CLIENT)
    verbs = _verbs(heard)
    assert verbs[:2] == ["SELECT", "BEGIN"], "the password, and the rest"
    assert verbs[-1] == "COMMIT"
    assert (verbs.count("BEGIN"), verbs.count("COMMIT")) == (1, 1)


def _explained(store: SqlStore, action: Callable[[UnitOfWork], object]) -> str:
    """The plan of the last statement of an action, where the planner may not read the whole table."""
    plans: list[str] = []

    def explain(_connection: Connection, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plans.append("\n".join(line for (line,) in cursor.fetchall()))

    with store.begin() as work:
        work._connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        work._connection.exec_driver_sql("ANALYZE email_tokens")
        event.listen(store.engine, "before_cursor_execute", explain)
        try:
            action(work)
        finally:
            event.remove(store.engine, "before_cursor_execute", explain)
    return plans[-1]


# Where two indexes could serve, there are rows enough for the planner to know the better one.
ASKED_OFTEN = {
    "ix_outbox_due_at": lambda work: work.outbox.claim(now=NOW, lease=timedelta(minutes=2)),
    "ix_outbox_user_id_kind_prepared_at": lambda work: work.outbox.prepared_since(
        uuid.uuid4(), MessageKind.PASSWORD_RESET, since=NOW, until=NOW, excluding=uuid.uuid4()
    ),
    "ix_outbox_dead_at": lambda work: work.outbox.failed(),
    "uq_email_tokens_digest": lambda work: work.one_time_tokens.find(bytes(32), list(Purpose), now=NOW),
    "ix_email_tokens_user_id_purpose_id": lambda work: work.one_time_tokens.end_all(uuid.uuid4(), at=NOW),
    "ix_email_tokens_expires_at": lambda work: work.one_time_tokens.purge(now=NOW, limit=1),
}


@pytest.mark.parametrize("index", ASKED_OFTEN)
def test_what_is_asked_often_finds_its_rows_by_an_index(postgres_store: SqlStore, index: str) -> None:
    ann = account()
    stored(postgres_store, ann, *(email_token(ann.user.id) for _ in range(200)))
    assert index in _explained(postgres_store, ASKED_OFTEN[index])


def test_messages_that_only_name_an_address_are_found_among_those_that_were_not_sent(postgres_store: SqlStore) -> None:
    plan = _explained(postgres_store, lambda work: work.outbox.forget_address(EMAIL))
    assert "ix_outbox_due_at" in plan
    assert "ix_outbox_dead_at" in plan


def test_what_the_throttle_put_down_is_looked_for_around_the_requests_of_a_user_alone(sqlite_store: SqlStore) -> None:
    """Read among all rows without a user, and for each visit anew, it took minutes of the one writer's time."""
    user_id, plans = uuid.uuid4(), []
    visits = [NOW + timedelta(hours=hours) for hours in range(3)]

    def explain(_connection: Connection, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.append([row[3] for row in cursor.fetchall()])

    with sqlite_store.begin() as work:
        for at in visits:
            work.audit.add(audit_event(id=new_id(at), at=at, user_id=user_id))
        event.listen(sqlite_store.engine, "before_cursor_execute", explain)
        try:
            work.audit.forget_addresses(user_id, after=None, limit=100)
        finally:
            event.remove(sqlite_store.engine, "before_cursor_execute", explain)
    search = "SEARCH audit_events USING INDEX ix_audit_events_user_id_id (user_id=? AND id>? AND id<?)"
    assert plans[1].count(search) == len(visits)


def test_values_of_mail_never_stand_in_the_text_of_a_statement(postgres_store: SqlStore) -> None:
    ann, evil = account(), "' OR '1'='1"
    stored(postgres_store, ann)
    one = message(MessageKind.EMAIL_CHANGE, user_id=ann.user.id, address=evil, languages=evil, facts={"ip": evil})
    token = email_token(ann.user.id, address=evil)
    with opened(url_of(postgres_store), pool_size=1) as single, overheard(single) as heard:
        stored(single, one, token)
        with single.begin() as work:
            claimed = work.outbox.claim(now=NOW, lease=timedelta(minutes=2))
            assert claimed is not None
            work.outbox.prepare(one.id, user_id=ann.user.id, at=NOW)
            work.outbox.prepared_since(ann.user.id, one.kind, since=NOW, until=NOW, excluding=one.id)
            work.outbox.give_up(claimed, at=NOW, error=evil)
            work.outbox.retry(one.id, at=NOW)
            work.outbox.purge(sent_before=NOW, dead_before=NOW, limit=7)
            work.one_time_tokens.find(token.digest, list(Purpose), now=NOW)
            work.one_time_tokens.use(token.id, at=NOW)
            work.one_time_tokens.end_all(ann.user.id, at=NOW, purposes=[Purpose.EMAIL_CHANGE])
            work.users.set_email(ann.user.id, evil, canonical_email=evil, at=NOW)
            work.audit.add(audit_event(user_id=ann.user.id, ip=evil))
            work.audit.forget_addresses(ann.user.id, after=None, limit=100)
            work.users.mark_deleted(ann.user.id, at=NOW)
            work.users.remove(ann.user.id)
            work.commit()
    written = [statement for statement in heard if statement.split()[0] not in {"BEGIN", "COMMIT"}]
    assert len(written) == 20
    for statement in written:
        assert "$1" in statement
        assert "'" not in statement, "no literal at all"


def test_values_never_stand_in_the_text_of_a_statement(postgres_store: SqlStore) -> None:
    """SQLite's trace shows values that were bound; what libpq sends does not hide the difference."""
    with opened(url_of(postgres_store), pool_size=1) as single, overheard(single) as heard, single.reading() as read:
        read.users.by_email("' OR '1'='1")
    (statement,) = heard
    assert "OR" not in statement.split("WHERE")[1]
    assert "$1" in statement
