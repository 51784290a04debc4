"""What was deleted is in no byte of an SQLite database, nor of what lies beside its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core.app import AuthApp, build
from core.origin import Origin
from core.sql_store import SqlStore
from core.users.sql import users
from tests.support.api import PASSWORD
from tests.support.databases import folder_in_memory, migrated_store
from tests.support.settings import AMPLE, make_settings

LEAVING, STAYING = "zebulon.quixley@leaving.example", "ann@staying.example"
EACH = 8
PLACE = Origin(ip="203.0.113.77")
ELSEWHERE = Origin(ip="198.51.100.5")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_in_memory() as found:
        yield found


@pytest.fixture
def store(folder: Path) -> Iterator[SqlStore]:
    with migrated_store(f"sqlite:///{folder}/auth.db") as found:
        yield found


def _live(app: AuthApp, email: str, name: str, origin: Origin) -> str:
    """A life that leaves rows in most tables, and pages that are written again and again. The last access token."""
    app.accounts.sign_up(email, PASSWORD, name, origin)
    for _ in range(3):
        pair = app.authentication.login(email, PASSWORD, origin)
        app.password_reset.request(email, origin)
    principal = app.sessions.whoami(pair.access_token)
    app.accounts.rename(principal, f"{name} Senior", origin)
    app.email_verification.request_change(principal, f"new.{email}", PASSWORD, origin)
    return pair.access_token


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_deleted_address_is_in_no_byte(store: SqlStore, folder: Path) -> None:
    app = build(make_settings(throttle=AMPLE), store=store)
    for number in range(EACH):  # enough that pages are split, joined and given back
        _live(app, f"{number}.{STAYING}", "Ann", ELSEWHERE)
        _live(app, f"{number}.{LEAVING}", "Zebulon", PLACE)
    assert any(b"zebulon.quixley" in content for content in _files(folder).values())
    for number in range(EACH):
        pair = app.authentication.login(f"{number}.{LEAVING}", PASSWORD, PLACE)
        app.accounts.delete(app.sessions.whoami(pair.access_token), PASSWORD, PLACE)
    app.housekeeper.run_once()
    found = _files(folder)
    assert found.keys() == {"auth.db", "auth.db-wal", "auth.db-shm"}
    assert STAYING.encode() in found["auth.db"]
    for personal in (b"zebulon", b"Zebulon", b"quixley", b"203.0.113.77"):
        assert [name for name, content in found.items() if personal in content] == [], personal


def test_a_reader_in_the_way_holds_up_no_housekeeping(store: SqlStore, folder: Path) -> None:
    app = build(make_settings(), store=store)
    app.accounts.sign_up(LEAVING, PASSWORD, None, PLACE)
    with store.engine.connect() as reader:  # in a transaction, which sees the log as it is now
        reader.exec_driver_sql("ROLLBACK")
        reader.exec_driver_sql("BEGIN")
        reader.execute(select(users)).all()
        app.housekeeper.run_once()
    assert (folder / "auth.db-wal").stat().st_size > 0
    app.housekeeper.run_once()
    assert (folder / "auth.db-wal").stat().st_size == 0


def test_rows_are_overwritten_whatever_the_library_does_by_itself(store: SqlStore) -> None:
    """Debian's has it on, most others not."""
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
