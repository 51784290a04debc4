"""Both doors behind PgBouncer in transaction mode, with more connections to it than it has to the server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import make_url

from core.app import build
from core.errors import DatabaseUnavailable
from core.origin import Origin
from core.settings import DatabaseSettings
from core.sql_store import SqlStore, open_store
from lab.faults.history import Kind, Outcome, Record, violations
from lab.faults.stage import GRACE
from lab.faults.workload import Crowd, Service, remains_of, wait_until
from migrations.runner import upgrade
from tests.conftest import make_settings
from tests.live.conftest import Figures
from tests.support.api import EMAIL, PASSWORD
from tests.support.databases import postgres_url
from tests.support.pooler import SERVER_CONNECTIONS, pooling
from tests.support.servers import CHEAP, FRAMEWORKS, serving

LASTS = 2.0  # seconds
BRIEF = timedelta(seconds=0.7)
SETTINGS = {
    **CHEAP,
    "AUTH_PASSWORD_HASH_QUEUE": "100",  # nobody is to be refused for want of a core
    "AUTH_DATABASE_POOLER": "true",
    "AUTH_RELAY": "false",  # messages stay where they can be counted
    "AUTH_TOKEN_SESSION_LIMIT": "1000",
}


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


def ask(url: str, question: Any) -> list[dict[str, Any]]:
    parameters = make_url(url).translate_connect_args(username="user", database="dbname")
    with psycopg.connect(**parameters, autocommit=True, prepare_threshold=None, row_factory=dict_row) as connection:
        return connection.execute(question).fetchall()


def console(pooled: str, question: str) -> list[dict[str, Any]]:
    """What PgBouncer says of our database."""
    url = make_url(pooled)
    rows = ask(url.set(database="pgbouncer").render_as_string(hide_password=False), question)
    return [row for row in rows if row["database"] == url.database]


def test_many_users_at_both_doors_share_a_few_connections(
    server: str, pooled: str, tmp_path: Path, figures: Figures
) -> None:
    """Started on an empty database, which every process wants to migrate, and used by a crowd whose history is kept."""
    seed = random.SystemRandom().randrange(10**6)
    record = Record()
    options = ("--workers", "2")
    with serving(tmp_path, *FRAMEWORKS, options=options, AUTH_DATABASE_URL=pooled, **SETTINGS) as doors:
        crowd = Crowd(Service([door.api for door in doors], record), seed)
        with crowd.at_work():
            wait_until(time.monotonic() + LASTS)
            clients, servers = console(pooled, "SHOW CLIENTS"), console(pooled, "SHOW SERVERS")
        crowd.ask_for_everything()
    operations = record.operations
    line = f"{record.summary()}; {len(clients)} clients of {len(servers)} server connections (seed {seed})"
    figures(f"pgbouncer: {line}")
    assert not violations(operations, remains_of(server, operations), grace=GRACE)
    assert len(clients) > SERVER_CONNECTIONS >= len(servers)
    assert {operation.outcome for operation in operations} <= {Outcome.OK, Outcome.REFUSED}, line
    done = {operation.kind for operation in operations if operation.is_ok}
    assert done >= {Kind.SIGNUP, Kind.LOGIN, Kind.REFRESH, Kind.WHOAMI}


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
