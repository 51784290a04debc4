"""Twins in process and twins as servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp, build
from core.settings import HttpSettings, TokenSettings
from tests.clock import START, FakeClock
from tests.conftest import SECRET, make_settings
from tests.drivers import AsgiDriver, WsgiDriver
from tests.fuzz.wire import LiveTwins
from tests.fuzz.worlds import AGE, Known, Letterbox, Twins, copy_database, furnish, quick_store
from tests.servers import CHEAP, serving

ORIGIN = "https://app.example.com"
# Both on, so that what a client writes into these fields is read at all.
HTTP: dict[str, Any] = {"trusted_proxies": (ip_network("127.0.0.0/8"),), "cors_origins": (ORIGIN,)}


def _furnished(file: Path, begin: datetime, **changes: Any) -> tuple[Known, datetime]:
    """Make the world that is copied; the moment at which it stands still then."""
    clock, letterbox = FakeClock(begin), Letterbox()
    with quick_store(f"sqlite:///{file}") as store:
        auth = build(make_settings(**changes), store=store, clock=clock, mailer=letterbox)
        return furnish(auth, clock, letterbox), clock.at


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop) -> Iterator[Twins]:
    """Both doors in this process, each with a world of its own, and one clock that stands still."""
    folder = tmp_path_factory.mktemp("twins")
    changes = {"http": HttpSettings(**HTTP)}
    known, beginning = _furnished(folder / "template.db", START, **changes)
    clock = FakeClock(beginning)

    with ExitStack() as stack:

        def opened(name: str) -> AuthApp:
            copy_database(folder / "template.db", folder / name)
            store = stack.enter_context(quick_store(f"sqlite:///{folder / name}"))
            return build(make_settings(**changes), store=store, clock=clock, mailer=Letterbox())

        yield Twins(
            flask=WsgiDriver(create_flask(opened("flask.db"))),
            fastapi=AsgiDriver(create_fastapi(opened("fastapi.db")), loop),
            known=known,
            template=folder / "template.db",
            copies=(folder / "flask.db", folder / "fastapi.db"),
            clock=clock,
            beginning=beginning,
        )


@pytest.fixture(scope="session")
def live_twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveTwins]:
    """Both servers, each in a process of its own and over a world of its own."""
    folder = tmp_path_factory.mktemp("live-twins")
    tokens = TokenSettings(access_ttl=timedelta(hours=1))
    known, _ = _furnished(folder / "template.db", datetime.now(UTC) - AGE, tokens=tokens)
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
        "AUTH_RELAY": "false",  # it would send at its own moment, and an export shows when
        "AUTH_TRUSTED_PROXIES": "127.0.0.0/8",
        "AUTH_CORS_ORIGINS": ORIGIN,
    }
