"""A commit that waits in vain for a synchronous standby is kept on one server alone, and is never acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from psycopg import sql

from core.errors import DatabaseUnavailable
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore, open_store
from core.storage.retries import retried
from lab.faults.postgres import Postgres
from migrations.runner import upgrade
from tests.support.databases import empty
from tests.support.servers import eventually
from tests.support.values import audit_event, events_in

BRIEF, LONG = 0.7, 20.0  # seconds of patience: less, and more than anybody here waits


@pytest.fixture(scope="module")
def url(own: Postgres) -> Iterator[str]:
    with own.database() as made:
        yield made


@pytest.fixture
def store(url: str, request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    opened = open_store(url, DatabaseSettings(timeout=timedelta(seconds=request.param)))
    upgrade(opened.engine)
    empty(opened)
    yield opened
    opened.close()


@contextmanager
def standby_away(postgres: Postgres) -> Iterator[None]:
    """The server may acknowledge nothing that its standby does not have, and there is no standby."""
    _name_standby(postgres, "nobody")
    try:
        yield
    finally:
        _name_standby(postgres, "")


def _name_standby(postgres: Postgres, name: str) -> None:
    postgres.administer(
        sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(sql.Literal(name)),
        "SELECT pg_reload_conf()",
    )

    def is_known() -> bool:
        with postgres.administrator() as connection:
            return connection.execute("SHOW synchronous_standby_names").fetchone() == (name,)

    assert eventually(is_known, 10)


def cancel_the_wait(postgres: Postgres) -> bool:
    """What an administrator does who sees commits that do not end."""
    with postgres.administrator() as connection:
        return bool(
            connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            ).fetchall()
        )


def commit_one(store: SqlStore, attempts: list[int]) -> None:
    @retried
    def work_once() -> None:
        attempts.append(1)
        with store.begin() as work:
            work.audit.add(audit_event())
            work.commit()

    work_once()


@pytest.mark.parametrize("store", [BRIEF], indirect=True)
def test_a_commit_that_waits_too_long_is_in_doubt(store: SqlStore, own: Postgres) -> None:
    attempts: list[int] = []
    with standby_away(own):
        with pytest.raises(DatabaseUnavailable) as raised:
            commit_one(store, attempts)
        assert type(raised.value) is DatabaseUnavailable  # not a conflict, which would be tried again
        assert len(attempts) == 1
        assert not events_in(store), "nobody may see what only this server has"


@pytest.mark.parametrize("store", [LONG], indirect=True)
def test_a_commit_whose_wait_was_cancelled_is_in_doubt(store: SqlStore, own: Postgres) -> None:
    """The server says that it has committed, and only warns that nobody else has."""
    attempts: list[int] = []
    with standby_away(own), ThreadPoolExecutor(1) as pool:
        committing = pool.submit(commit_one, store, attempts)
        assert eventually(lambda: cancel_the_wait(own), 10)
        with pytest.raises(DatabaseUnavailable) as raised:
            committing.result(10)
    assert type(raised.value) is DatabaseUnavailable
    assert len(attempts) == 1
    assert len(events_in(store)) == 1


@pytest.mark.parametrize("store", [LONG], indirect=True)
def test_a_warning_before_the_commit_says_nothing_of_it(store: SqlStore) -> None:
    with store.begin() as work:
        work._connection.exec_driver_sql("DO $$ BEGIN RAISE WARNING 'something else'; END $$")
        work.audit.add(audit_event())
        work.commit()
    assert len(events_in(store)) == 1
