"""What a use case costs the database, counted where it leaves the driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.app import AuthApp, build
from core.audit import Client
from core.repositories.unit_of_work import SqlStore
from core.sessions import TokenPair
from tests.api import EMAIL, PASSWORD
from tests.clock import FakeClock
from tests.conftest import make_settings
from tests.repositories.faults import opened, overheard, url_of
from tests.repositories.values import NOW, account, session, stored

CLIENT = Client()


@pytest.fixture
def single(sql_store: SqlStore) -> Iterator[SqlStore]:
    """A store with one connection, to which one can listen."""
    with opened(url_of(sql_store), pool_size=1) as store:
        yield store


@pytest.fixture
def app(single: SqlStore) -> AuthApp:
    return build(make_settings(), store=single, clock=FakeClock(NOW))


@pytest.fixture
def pair(app: AuthApp) -> TokenPair:
    app.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    return app.auth.login(EMAIL, PASSWORD, CLIENT)


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
        app.auth.whoami(pair.access_token)
    assert _verbs(heard) == ["SELECT"]


def test_a_refresh_is_one_read_and_one_conditional_update(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    with overheard(single) as heard:
        app.sessions.refresh(pair.refresh_token, CLIENT)
    assert _verbs(heard) == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]


def test_listing_sessions_is_one_statement(single: SqlStore, app: AuthApp, pair: TokenPair) -> None:
    principal = app.auth.whoami(pair.access_token)
    with overheard(single) as heard:
        app.sessions.live(principal)
    assert _verbs(heard) == ["SELECT"]


def test_the_check_of_readiness_is_one_statement(single: SqlStore) -> None:
    with overheard(single) as heard:
        single.check()
    assert _verbs(heard) == ["SELECT"]


def test_values_never_stand_in_the_text_of_a_statement(postgres_store: SqlStore) -> None:
    """SQLite's trace shows values that were bound; what libpq sends does not hide the difference."""
    with opened(url_of(postgres_store), pool_size=1) as single, overheard(single) as heard, single.reading() as read:
        read.users.by_email("' OR '1'='1")
    (statement,) = heard
    assert "OR" not in statement.split("WHERE")[1]
    assert "$1" in statement
