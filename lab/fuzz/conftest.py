"""Twins in process and twins as servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp, build
from core.settings.groups import HttpSettings, TokenSettings
from core.sql_store import SqlStore
from lab.fuzz.twins import (
    AGE,
    AUDIENCES,
    SCOPES,
    Known,
    Letterbox,
    Twins,
    copy_database,
    furnish,
    put_back,
    quick_store,
    rows_of,
)
from lab.fuzz.wire import LiveTwins
from lab.rounds import IS_LONG
from tests.support.clock import START, FakeClock
from tests.support.databases import postgres_url, sqlite_url
from tests.support.drivers import AsgiDriver, WsgiDriver
from tests.support.servers import CHEAP, serving
from tests.support.settings import SECRET, make_settings

ORIGIN = "https://app.example.com"
# Both on, so that what a client writes into these fields is read at all.
HTTP: dict[str, Any] = {"trusted_proxies": (ip_network("127.0.0.0/8"),), "cors_origins": (ORIGIN,)}


def _furnished(store: SqlStore, begin: datetime, **changes: Any) -> tuple[Known, datetime]:
    """Make the database that is copied; the moment at which it stands still then."""
    clock, letterbox = FakeClock(begin), Letterbox()
    auth = build(make_settings(**changes), store=store, clock=clock, mailer=letterbox)
    return furnish(auth, clock, letterbox), clock.at


@dataclass(frozen=True)
class Copies:
    """A template and its two copies, all of them open."""

    template: SqlStore
    flask: SqlStore
    fastapi: SqlStore

    def restorer(self) -> Callable[[], None]:
        """What makes both copies equal to the template as it is now."""
        rows = rows_of(self.template)

        def restore() -> None:
            for copy in (self.flask, self.fastapi):
                if copy.engine.dialect.name == "sqlite":
                    copy_database(_file_of(self.template), _file_of(copy))
                else:
                    put_back(rows, copy)

        return restore


def _file_of(store: SqlStore) -> Path:
    return Path(str(store.engine.url.database))


@pytest.fixture(scope="session", params=("sqlite", "postgres") if IS_LONG else ("sqlite",))
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copies]:
    """Every day on SQLite, where a copy takes a millisecond; a long search on PostgreSQL as well."""
    with ExitStack() as stack:

        def opened() -> SqlStore:
            if request.param == "sqlite":
                url = stack.enter_context(sqlite_url(tmp_path_factory.mktemp("twins")))
            else:
                url = stack.enter_context(postgres_url(request.getfixturevalue("postgres")))
            return stack.enter_context(quick_store(url))

        yield Copies(opened(), opened(), opened())


@pytest.fixture(scope="session")
def twins(copies: Copies, loop: asyncio.AbstractEventLoop) -> Twins:
    """Both doors in this process, each with a database of its own, and one clock that stands still."""
    tokens = TokenSettings(audiences=AUDIENCES, scopes={"*": SCOPES.split()})
    changes: dict[str, Any] = {"http": HttpSettings(**HTTP), "tokens": tokens}
    known, beginning = _furnished(copies.template, START, **changes)
    restore, clock = copies.restorer(), FakeClock(beginning)
    restore()

    def opened(store: SqlStore) -> AuthApp:
        return build(make_settings(**changes), store=store, clock=clock, mailer=Letterbox())

    return Twins(
        flask=WsgiDriver(create_flask(opened(copies.flask))),
        fastapi=AsgiDriver(create_fastapi(opened(copies.fastapi)), loop),
        known=known,
        restore=restore,
        clock=clock,
        beginning=beginning,
    )


@pytest.fixture(scope="session")
def live_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveTwins]:
    """Both servers, each in a process of its own and over a database of its own."""
    folder = tmp_path_factory.mktemp("live-twins")
    tokens = TokenSettings(access_ttl=timedelta(hours=1), audiences=AUDIENCES, scopes={"*": SCOPES.split()})
    with quick_store(f"sqlite:///{folder / 'template.db'}") as store:
        known, _ = _furnished(store, datetime.now(UTC) - AGE, tokens=tokens)
    with ExitStack() as stack:

        def served(framework: str) -> str:
            database = folder / f"{framework}.db"
            copy_database(folder / "template.db", database)
            (server,) = stack.enter_context(serving(folder, framework, **_environment(database)))
            return server.url

        yield LiveTwins(served("flask"), served("fastapi"), known, folder)


def _environment(database: Path) -> dict[str, str]:
    return CHEAP | {
        "AUTH_SECRET_KEY": SECRET,
        "AUTH_DATABASE_URL": f"sqlite:///{database}",
        "AUTH_TOKEN_ACCESS_TTL": "3600",
        "AUTH_TOKEN_AUDIENCES": ",".join(AUDIENCES),
        "AUTH_TOKEN_SCOPES": json.dumps({"*": SCOPES}),
        "AUTH_RELAY": "false",  # it would send at its own moment, and an export shows when
        "AUTH_TRUSTED_PROXIES": "127.0.0.0/8",
        "AUTH_CORS_ORIGINS": ORIGIN,
    }
