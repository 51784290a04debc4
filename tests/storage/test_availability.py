"""What the database cannot do in time is said in time, as `DatabaseUnavailable`, and passes by itself."""

from __future__ import annotations

import resource
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from core.errors import DatabaseUnavailable, NotReady, TransactionConflict
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore
from migrations.runner import upgrade
from tests.support.database_faults import (
    end_connections,
    locked_by_another_process,
    mortal,
    opened,
    server_options,
    silent_server,
    url_of,
    within,
)
from tests.support.databases import migrated_store, postgres_url, sqlite_url
from tests.support.postgres import free_port
from tests.support.values import NOW, account, account_in, audit_event, events_in, key, session, stored

SHORT = timedelta(milliseconds=300)


def _write(store: SqlStore) -> None:
    with store.begin() as work:
        work.audit.add(audit_event())
        work.commit()


def _read(store: SqlStore) -> None:
    with store.reading() as read:
        read.users.by_email("ann@example.com")


WAYS: list[Callable[[SqlStore], None]] = [_write, _read, SqlStore.check]


# Away


def test_a_server_that_never_answers_is_unavailable_within_the_timeout() -> None:
    with silent_server() as url, opened(url) as store, ThreadPoolExecutor(len(WAYS)) as pool:
        with within(2.9):
            failures = [future.exception(10) for future in [pool.submit(way, store) for way in WAYS]]
        assert [type(failure) for failure in failures] == [DatabaseUnavailable] * len(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_not_there_is_unavailable_at_once(way: Callable[[SqlStore], None]) -> None:
    with opened(f"postgresql://app:unknown@127.0.0.1:{free_port()}/app") as store, within(1):
        with pytest.raises(DatabaseUnavailable) as raised:
            way(store)
        assert type(raised.value) is DatabaseUnavailable  # not a conflict: nothing is gained by trying again at once


@pytest.mark.parametrize("change", [{"password": "wrong"}, {"database": "no_such_database"}], ids=str)
def test_a_server_that_refuses_us_is_unavailable(postgres_store: SqlStore, change: dict[str, str]) -> None:
    url = postgres_store.engine.url.set(**change)  # type: ignore[arg-type]  # one of two names
    with opened(url.render_as_string(hide_password=False)) as store, pytest.raises(DatabaseUnavailable):
        _read(store)


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "app.db").mkdir()
    with opened(f"sqlite:///{tmp_path / 'app.db'}") as store, pytest.raises(DatabaseUnavailable):
        _read(store)


# Busy


@pytest.mark.parametrize("way", WAYS)
def test_an_exhausted_pool_is_unavailable_within_the_timeout(store: SqlStore, way: Callable[[SqlStore], None]) -> None:
    with opened(url_of(store), pool_size=1, timeout=SHORT) as small:
        with small.begin(), within(1), pytest.raises(DatabaseUnavailable):
            way(small)
        way(small)


def test_an_sqlite_file_locked_by_another_process_is_unavailable_within_the_timeout(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store), timeout=SHORT) as store:
        with locked_by_another_process(store), within(1), pytest.raises(DatabaseUnavailable):
            _write(store)
        _write(store)
    assert len(events_in(sqlite_store)) == 1


def test_an_sqlite_file_locked_by_another_connection_is_unavailable_within_the_timeout(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store), timeout=SHORT) as store:
        with sqlite_store.begin(), within(1), pytest.raises(DatabaseUnavailable):
            _write(store)
        _write(store)


def test_a_writer_that_waited_for_its_turn_waits_no_second_timeout_for_the_lock(sqlite_store: SqlStore) -> None:
    """It stands behind another writer of its process, and then both before the lock of another process."""
    patience = timedelta(seconds=0.8)
    with opened(url_of(sqlite_store), timeout=patience) as store, ThreadPoolExecutor(1) as pool:
        with locked_by_another_process(store):
            first = pool.submit(_write, store)
            time.sleep(patience.total_seconds() / 2)
            with within(1.3 * patience.total_seconds()), pytest.raises(DatabaseUnavailable):
                _write(store)
            assert type(first.exception(10)) is DatabaseUnavailable
        _write(store)
    assert len(events_in(sqlite_store)) == 1


def test_a_writer_that_had_little_time_left_takes_none_from_the_next(sqlite_store: SqlStore) -> None:
    """The connection goes back to the pool, and the next one to hold it has its own time."""
    with (
        opened(url_of(sqlite_store), pool_size=1, timeout=timedelta(seconds=1)) as store,
        ThreadPoolExecutor(1) as pool,
    ):
        with store.begin():
            late = pool.submit(_write, store)
            time.sleep(0.2)
        late.result(10)
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000


def test_a_writer_that_finds_the_lock_free_in_time_goes_on(sqlite_store: SqlStore) -> None:
    with ThreadPoolExecutor(1) as pool:
        with sqlite_store.begin() as first:
            second = pool.submit(_write, sqlite_store)
            first.audit.add(audit_event())
            first.commit()
        second.result(10)
    assert len(events_in(sqlite_store)) == 2


def test_an_sqlite_file_can_be_read_while_another_process_writes(sqlite_store: SqlStore) -> None:
    ann = account()
    stored(sqlite_store, ann)
    with locked_by_another_process(sqlite_store), within(1):
        assert account_in(sqlite_store, ann.user.id) == ann
        sqlite_store.check()


def test_a_new_connection_to_a_locked_sqlite_file_can_read(sqlite_store: SqlStore) -> None:
    with locked_by_another_process(sqlite_store), opened(url_of(sqlite_store)) as store, within(1):
        store.check()


def test_a_row_locked_by_another_transaction_is_unavailable_within_the_timeout(postgres_store: SqlStore) -> None:
    ann = account()
    stored(postgres_store, ann)

    def rename(store: SqlStore, name: str) -> None:
        with store.begin() as work:
            work.users.set_display_name(ann.user.id, name, at=NOW)
            work.commit()

    with opened(url_of(postgres_store), timeout=SHORT) as store, ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as holder:
            holder.users.set_display_name(ann.user.id, "first", at=NOW)
            second = pool.submit(rename, store, "second")
            done, _ = wait([second], timeout=1)
        assert isinstance(second.exception(10), DatabaseUnavailable)
        assert done, "it waited for as long as the lock was held"


def test_an_answer_that_takes_too_long_is_unavailable_within_the_timeout(postgres_store: SqlStore) -> None:
    """A view stands in for a table whose read has become slow."""
    with postgres_store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE signing_keys RENAME TO stored_keys"))
        connection.execute(
            text("CREATE VIEW signing_keys AS SELECT stored_keys.* FROM stored_keys, (SELECT pg_sleep(1.5)) AS slow")
        )
    try:
        stored_key = "INSERT INTO stored_keys SELECT 'kid', 1, 'ES256', '{}', '', now(), now()"
        with postgres_store.engine.begin() as connection:
            connection.execute(text(stored_key))
        with (
            opened(url_of(postgres_store), timeout=SHORT) as store,
            within(1),
            pytest.raises(DatabaseUnavailable),
            store.reading() as read,
        ):
            read.keys.all()
    finally:
        with postgres_store.engine.begin() as connection:
            connection.execute(text("DROP VIEW signing_keys"))
            connection.execute(text("ALTER TABLE stored_keys RENAME TO signing_keys"))


# Full, read-only


def _write_much(store: SqlStore) -> None:
    with store.begin() as work:
        for number in range(200):
            work.keys.add(key(number, sealed_private_key=bytes(4096)))
        work.commit()


def test_a_full_sqlite_file_is_unavailable_and_keeps_what_it_has(sqlite_store: SqlStore) -> None:
    _write(sqlite_store)
    with sqlite_store.engine.begin() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))
    with opened(url_of(sqlite_store)) as store:
        event.listen(store.engine, "connect", lambda made, _: made.execute(f"PRAGMA max_page_count={pages}"))
        with pytest.raises(DatabaseUnavailable):
            _write_much(store)
        _read(store)
    with sqlite_store.reading() as read:
        assert read.keys.all() == []
    assert len(events_in(sqlite_store)) == 1


def test_a_commit_that_the_disk_has_no_room_for_is_unavailable_and_undone(sqlite_store: SqlStore) -> None:
    """No file may grow for a moment; SQLite writes its log at the commit."""
    with opened(url_of(sqlite_store)) as store:
        with store.begin() as work:
            work.keys.add(key())
            with _no_room_on_the_disk(), pytest.raises(DatabaseUnavailable):
                work.commit()
        _write(store)
        with store.reading() as read:
            assert read.keys.all() == []


def test_a_full_disk_can_be_read(tmp_path: Path) -> None:
    """The first connection to an SQLite file makes another file, so none may be given up for a commit that failed."""
    with sqlite_url(tmp_path) as url, migrated_store(url, DatabaseSettings(pool_size=1)) as store:
        with _no_room_on_the_disk():
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable):
                    _write(store)
                _read(store)
                store.check()
        _write(store)
        assert len(events_in(store)) == 1


@contextmanager
def _no_room_on_the_disk() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_fails_leaves_no_transaction_open(sqlite_store: SqlStore) -> None:
    """SQLite keeps a transaction open whose commit it refused. In the pool it would hold the write lock for good."""
    with opened(url_of(sqlite_store), pool_size=1) as store:
        with pytest.raises(IntegrityError):
            _commit_a_broken_promise(store)
        _write(store)
    _write(sqlite_store)
    assert len(events_in(sqlite_store)) == 2


def _commit_a_broken_promise(store: SqlStore) -> None:
    with store.begin() as work:
        work._connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        work.sessions.add(session(uuid.uuid4()))
        work.commit()


def test_a_read_only_server_is_unavailable_for_writes_and_can_be_read(postgres_store: SqlStore) -> None:
    """As after a failover, when the old address leads to a standby."""
    with server_options(postgres_store, default_transaction_read_only="on") as store:
        _read(store)
        with pytest.raises(DatabaseUnavailable):
            _write(store)


def test_a_read_only_sqlite_file_is_unavailable_for_writes(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store), pool_size=1) as store:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(DatabaseUnavailable):
            _write(store)
        _read(store)


# Lost


def _write_on_a_lost_connection(store: SqlStore, *, lost_during_commit: bool) -> None:
    with store.begin() as work:
        work.audit.add(audit_event())
        end_connections(store)
        if not lost_during_commit:
            work.audit.add(audit_event())
        work.commit()


def test_a_connection_lost_before_the_commit_is_a_conflict(postgres_store: SqlStore) -> None:
    with mortal(postgres_store) as store:
        with pytest.raises(TransactionConflict):
            _write_on_a_lost_connection(store, lost_during_commit=False)
        _write(store)
    assert len(events_in(postgres_store)) == 1


def test_a_connection_lost_during_the_commit_is_not_a_conflict(postgres_store: SqlStore) -> None:
    """Whether it was committed nobody can know, so it must not be run again."""
    with mortal(postgres_store) as store:
        with pytest.raises(DatabaseUnavailable) as raised:
            _write_on_a_lost_connection(store, lost_during_commit=True)
        assert type(raised.value) is DatabaseUnavailable
        _write(store)


# At another schema


def _without_schema(store: SqlStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))


def _at_no_revision(store: SqlStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))


def _at_an_older_revision(store: SqlStore) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database of its own, to be spoilt."""
    made = sqlite_url(tmp_path) if request.param == "sqlite" else postgres_url(request.getfixturevalue("postgres"))
    with made as url, opened(url) as store:
        yield store


def test_a_newer_schema_is_served(fresh: SqlStore) -> None:
    """While a deployment rolls, the database is a step ahead of the processes that are not replaced yet."""
    upgrade(fresh.engine)
    with fresh.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    fresh.check()


@pytest.mark.parametrize("spoil", [_without_schema, _at_no_revision, _at_an_older_revision])
def test_an_older_schema_is_not_ready(fresh: SqlStore, spoil: Callable[[SqlStore], None]) -> None:
    upgrade(fresh.engine)
    fresh.check()
    spoil(fresh)
    with pytest.raises(NotReady):
        fresh.check()


def test_an_empty_database_is_not_ready_until_it_is_migrated(fresh: SqlStore) -> None:
    with pytest.raises(NotReady):
        fresh.check()
    upgrade(fresh.engine)
    fresh.check()


# What a connection is set to


def test_every_sqlite_connection_is_durable_concurrent_and_holds_foreign_keys(sqlite_store: SqlStore) -> None:
    full = 2
    with sqlite_store.engine.connect() as one, sqlite_store.engine.connect() as another:
        for connection in (one, another):
            driver: Any = connection.connection.driver_connection
            settings = [
                driver.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert settings == ["wal", full, 1]


def test_times_are_utc_whatever_zone_the_server_speaks(postgres_store: SqlStore) -> None:
    ann = account()
    with server_options(postgres_store, timezone="Asia/Kolkata") as store:
        stored(store, ann)
        found = account_in(store, ann.user.id)
        assert found == ann
        assert str(found.user.created_at) == str(NOW)
    assert account_in(postgres_store, ann.user.id) == ann


def test_closing_gives_every_connection_back(sqlite_store: SqlStore) -> None:
    with opened(url_of(sqlite_store)) as store:
        with store.begin(), store.reading(), store.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
        store.close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            driver.execute("SELECT 1")
