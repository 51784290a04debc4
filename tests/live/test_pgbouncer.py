"""The store behind PgBouncer in transaction mode: what it may ask for, and who gives up first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from core.app import build
from core.errors import DatabaseUnavailable
from core.origin import Origin
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore, open_store
from migrations.runner import upgrade
from tests.support.api import EMAIL, PASSWORD
from tests.support.databases import postgres_url
from tests.support.pooler import ask, pooling
from tests.support.settings import make_settings

BRIEF = timedelta(seconds=0.7)


@pytest.fixture(scope="module")
def server(postgres: str) -> Iterator[str]:
    """The URL of an empty database as it is reached directly."""
    with postgres_url(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def pooled(server: str) -> Iterator[str]:
    """The same, through PgBouncer."""
    with pooling(server) as url:
        yield url


@pytest.fixture
def store(pooled: str) -> Iterator[SqlStore]:
    opened = open_store(pooled, DatabaseSettings(pooler=True, timeout=BRIEF))
    upgrade(opened.engine)
    yield opened
    opened.close()


def test_a_row_that_somebody_holds_is_waited_for_in_time_and_the_server_stops_waiting_first(
    store: SqlStore, server: str, pooled: str
) -> None:
    app = build(make_settings(), store=store)
    user = app.accounts.sign_up(EMAIL, PASSWORD, None, Origin())
    assert user is not None
    holder = psycopg.connect(server)
    holder.execute("SELECT FROM users WHERE id = %s FOR UPDATE", (user.id,))
    with holder, pytest.raises(DatabaseUnavailable) as raised, store.begin() as work:
        work.users.lock(user.id)
    assert "canceling statement due to" in str(raised.value.__cause__)
    assert ask(pooled, "SHOW lock_timeout") == [{"lock_timeout": "0"}], "who has the connection next"


def test_without_the_setting_pgbouncer_refuses_every_connection_and_says_why(pooled: str) -> None:
    store = open_store(pooled, DatabaseSettings())
    with pytest.raises(DatabaseUnavailable) as raised:
        store.check()
    assert "unsupported startup parameter" in str(raised.value.__cause__)
