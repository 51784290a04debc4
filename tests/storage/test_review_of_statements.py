"""The guide's review of every statement is complete: what it does not account for is not said to a database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, make_url

from benchmarks.costs.filled import fill
from core.app import AuthApp, build
from core.mail.model import MessageKind
from core.oauth.model import Credentials
from core.origin import Origin
from core.sql_store import SqlStore, SqlUnitOfWork
from migrations.runner import upgrade
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD
from tests.support.clock import FakeClock
from tests.support.databases import migrated_store, postgres_url
from tests.support.mail import RecordingMailer, kind_of, token_of
from tests.support.reviewed_statements import CALLS, SPECIALS, arrange, methods, noted
from tests.support.settings import make_settings
from tests.support.values import NOW

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "scale.md").read_text(encoding="utf-8")
CLIENT = Origin(ip="192.0.2.7")


def _section(title: str) -> str:
    found = re.search(rf"^### {title}\n(.*?)(?=^##)", GUIDE, re.DOTALL | re.MULTILINE)
    assert found, f"the guide has no section {title}"
    return found[1]


def _rows(title: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    lines = [line for line in _section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# From the name of a method to what the guide says is special about its statements.
REVIEWED = {
    name: frozenset(_named(specials))
    for names, _what, specials in _rows("What the service says")
    for name in _named(names)
}


@contextmanager
def _undone(store: SqlStore) -> Iterator[SqlUnitOfWork]:
    """A unit of work with something to find in it, of which nothing is kept."""
    with store.begin() as work:
        arrange(work)
        yield work


def test_every_method_of_every_repository_is_called_here(postgres_store: SqlStore) -> None:
    with postgres_store.begin() as work:
        assert set(CALLS) == methods(work)


def test_the_guide_names_what_is_special_about_every_method(postgres_store: SqlStore) -> None:
    said = {name: specials_of(postgres_store, name) for name in CALLS}
    assert said == {name: specials for name, specials in REVIEWED.items() if name in CALLS}


def specials_of(store: SqlStore, name: str) -> frozenset[str]:
    with _undone(store) as work, noted(store.engine) as seen:
        CALLS[name](work)
    assert seen, f"{name} said nothing"
    return frozenset().union(*(statement.specials for statement in seen))


def test_the_guide_names_what_is_special_about_a_migration(postgres: str) -> None:
    with postgres_url(postgres) as url:
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        with noted(engine) as seen:
            upgrade(engine)
        engine.dispose()
    said = frozenset().union(*(statement.specials for statement in seen if "pg_catalog" not in statement.text))
    assert said == REVIEWED["migrate"]


def test_the_guide_judges_everything_special_for_every_engine() -> None:
    judged = {name: engines for cell, *engines in _rows("What each engine makes of it") for name in _named(cell)}
    assert set().union(*REVIEWED.values()) <= set(judged)
    assert all(all(engines) and len(engines) == 4 for engines in judged.values())


def test_the_guide_names_nothing_that_is_not_there() -> None:
    assert set(REVIEWED) - set(CALLS) == {"migrate", "check"}
    assert set().union(*REVIEWED.values()) <= SPECIALS.keys()


# Where there are many rows

GROWING = ("users", "sessions", "audit_events", "throttle_counters", "email_tokens", "outbox", "revocations")


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[SqlStore]:
    """A database of some thousand users, as it looks after years, of which the planner knows."""
    with postgres_url(postgres) as url, migrated_store(url) as store:
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        fill(engine, 5000, "no hash")
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO revocations SELECT gen_random_uuid(), n, 'session', md5('v' || n), NULL, now() + random()"
                " * interval '15 minutes' FROM generate_series(1, 5000) n"
            )
            connection.exec_driver_sql("UPDATE revocation_feed SET head = 5000")
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")
        engine.dispose()
        yield store


def test_no_method_reads_the_whole_of_a_table_that_grows(filled: SqlStore) -> None:
    read = {(name, table) for name in CALLS for table in GROWING if _reads_all(filled, name, table)}
    assert read == set()


@cache
def _plans(store: SqlStore, name: str) -> str:
    """What PostgreSQL makes of the statements of a method."""
    plans: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, values: Any, _context: Any, is_many: bool) -> None:  # noqa: FBT001
        cursor.execute(f"EXPLAIN {statement}", values[0] if is_many else values)
        plans.extend(line for (line,) in cursor.fetchall())

    with _undone(store) as work:
        event.listen(store.engine, "before_cursor_execute", explain)
        try:
            CALLS[name](work)
        finally:
            event.remove(store.engine, "before_cursor_execute", explain)
    assert plans, name
    return "\n".join(plans)


def _reads_all(store: SqlStore, name: str, table: str) -> bool:
    return f"Seq Scan on {table}" in _plans(store, name)


# Nothing is said beside the repositories


def _walk(app: AuthApp, mailer: RecordingMailer) -> None:
    """The use cases, each once."""
    app.check_ready()
    app.accounts.sign_up(EMAIL, PASSWORD, "Ann", CLIENT)
    pair = app.authentication.login(EMAIL, PASSWORD, CLIENT)
    ann = app.sessions.whoami(pair.access_token)
    app.sessions.refresh(pair.refresh_token, CLIENT)
    app.sessions.live(ann)
    app.accounts.rename(ann, "Anna", CLIENT)
    app.accounts.change_password(ann, PASSWORD, OTHER_PASSWORD, CLIENT)
    app.password_reset.request(EMAIL, CLIENT)
    app.email_verification.request_change(ann, "anna@example.com", OTHER_PASSWORD, CLIENT)
    app.mail_worker.run_once()
    (token,) = [token_of(letter) for letter in mailer.letters if kind_of(letter) == MessageKind.EMAIL_CHANGE]
    app.email_verification.verify(token, CLIENT)
    registered, secret = app.clients.create("Orders", ("orders:read",))
    app.tokens.introspect(pair.access_token, Credentials(client_id=registered.id, secret=secret), CLIENT)
    app.sessions.end_all(ann, CLIENT, keep_current=True)
    list(app.exporter.export(ann, CLIENT))
    app.sessions.logout(ann, CLIENT)
    app.revocations.read(None, wait=0)
    again = app.sessions.whoami(app.authentication.login("anna@example.com", OTHER_PASSWORD, CLIENT).access_token)
    app.accounts.delete(again, OTHER_PASSWORD, CLIENT)
    app.keys.rotate()
    app.housekeeper.run_once()


def test_the_use_cases_say_nothing_but_what_was_reviewed(postgres_store: SqlStore) -> None:
    mailer = RecordingMailer()
    app = build(make_settings(), store=postgres_store, clock=FakeClock(NOW), mailer=mailer)
    with noted(postgres_store.engine) as said:
        _walk(app, mailer)
    with noted(postgres_store.engine) as reviewed:
        postgres_store.check()
        for call in CALLS.values():
            with _undone(postgres_store) as work:
                call(work)
    assert len(said) > 100
    assert {statement.shape for statement in said} <= {statement.shape for statement in reviewed}
