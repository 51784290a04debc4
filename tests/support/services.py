"""A service on one database with both front doors, for the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp, build
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from lab.stack.outside import Outside, WallClock
from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.databases import empty
from tests.support.drivers import AsgiDriver, Driver, LiveDriver, WsgiDriver
from tests.support.mail import RecordingMailer
from tests.support.settings import make_settings

OUTSIDE = Outside.given()
FRAMEWORKS = (OUTSIDE.door,) if OUTSIDE else ("flask", "fastapi")
DATABASES = ("stack",) if OUTSIDE else ("sqlite", "postgres")
# For rules that no database can change, and for ways that tests/storage asks each database for, use case by use case.
on_one_database = pytest.mark.parametrize("database", DATABASES[:1])


@dataclass(frozen=True)
class Service:
    """One service on one database, with both front doors, and its letters."""

    store: SqlStore
    auth: AuthApp
    clock: FakeClock
    mailer: RecordingMailer
    doors: dict[str, Driver]

    def api(self, framework: str) -> Api:
        return Api(self.doors[framework], self.auth, self.clock, self.mailer)


OpenDoor = Callable[..., Api]
"""Opens a front door of a service with other settings."""


def open_service(store: SqlStore, loop: asyncio.AbstractEventLoop, **changes: Any) -> Service:
    """Build a service and both doors on a store."""
    clock, mailer, settings = FakeClock(), RecordingMailer(), make_settings(**changes)
    # Letters stay in memory, except where a test brings a mail server of its own.
    auth = build(settings, store=store, clock=clock, mailer=None if settings.mail.smtp_url else mailer)
    doors: dict[str, Driver] = {
        "flask": WsgiDriver(create_flask(auth)),
        "fastapi": AsgiDriver(create_fastapi(auth), loop),
    }
    return Service(store, auth, clock, mailer, doors)


def outside_service(outside: Outside, store: SqlStore, mail: MailSettings) -> Service:
    """Show a stack that runs as a service with one door."""
    mailer = RecordingMailer()
    empty(store)  # of what was there before
    auth = outside.service(store, mail, mailer)
    return Service(store, auth, WallClock(), mailer, dict.fromkeys(("flask", "fastapi"), LiveDriver(outside.url)))
