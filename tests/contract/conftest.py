"""One `api` over {flask, fastapi} x {sqlite, postgres}, or over a stack that runs. No test asks which one it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp, build
from core.settings import MailSettings
from core.sql_store import SqlStore
from lab.stack.outside import Outside, WallClock, why_not
from tests.conftest import make_settings
from tests.support.api import Api
from tests.support.clock import START, FakeClock
from tests.support.databases import assert_nothing_checked_out, empty
from tests.support.drivers import AsgiDriver, Driver, LiveDriver, WsgiDriver
from tests.support.mail import RecordingMailer
from tests.support.parity import Transcript, comparable_letters

OUTSIDE = Outside.given()
FRAMEWORKS = (OUTSIDE.door,) if OUTSIDE else ("flask", "fastapi")
DATABASES = ("stack",) if OUTSIDE else ("sqlite", "postgres")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """From outside, only a test that asks through `api` asks the stack, and some of those cannot."""
    if OUTSIDE:
        for item in items:
            asks = {"api", "both"} & set(getattr(item, "fixturenames", ()))
            if why := why_not(item.name) if asks else "asks no stack":
                item.add_marker(pytest.mark.skip(reason=why))


@dataclass(frozen=True)
class House:
    """One service on one database, with both front doors, and its letters."""

    store: SqlStore
    auth: AuthApp
    clock: FakeClock
    mailer: RecordingMailer
    doors: dict[str, Driver]

    def api(self, framework: str) -> Api:
        return Api(self.doors[framework], self.auth, self.clock, self.mailer)


def open_house(store: SqlStore, loop: asyncio.AbstractEventLoop, **changes: Any) -> House:
    clock, mailer, settings = FakeClock(), RecordingMailer(), make_settings(**changes)
    # Letters stay in memory, but where a test brings a mail server of its own.
    auth = build(settings, store=store, clock=clock, mailer=None if settings.mail.smtp_url else mailer)
    doors: dict[str, Driver] = {
        "flask": WsgiDriver(create_flask(auth)),
        "fastapi": AsgiDriver(create_fastapi(auth), loop),
    }
    return House(store, auth, clock, mailer, doors)


def visit(outside: Outside, store: SqlStore, mail: MailSettings) -> House:
    """A stack that runs, as a house with one door."""
    mailer = RecordingMailer()
    empty(store)  # of whoever was there before
    auth = outside.service(store, mail, mailer)
    return House(store, auth, WallClock(), mailer, dict.fromkeys(("flask", "fastapi"), LiveDriver(outside.url)))


OpenHouse = Callable[[str, MailSettings], House]


@pytest.fixture(scope="session")
def houses(stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop) -> Iterator[OpenHouse]:
    opened: dict[tuple[str, MailSettings], House] = {}
    with ExitStack() as visited:

        def open_new(name: str, mail: MailSettings) -> House:
            if OUTSIDE is None:
                return open_house(stores(name), loop, mail=mail)
            OUTSIDE.require(mail)
            return visit(OUTSIDE, visited.enter_context(closing(OUTSIDE.store())), mail)

        def open_named(name: str, mail: MailSettings) -> House:
            if (name, mail) not in opened:
                opened[name, mail] = open_new(name, mail)
            return opened[name, mail]

        yield open_named


@pytest.fixture
def mail() -> MailSettings:
    """The mail settings of the house; a test or a module that wants others says so."""
    return MailSettings()


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, houses: OpenHouse, mail: MailSettings) -> Iterator[House]:
    found = houses(request.param, mail)
    found.clock.at = START
    found.mailer.reset()
    yield found
    assert_nothing_checked_out(found.store)
    empty(found.store)


@pytest.fixture(scope="session")
def transcripts() -> dict[str, Transcript]:
    """What each test was answered at the first door, until the second has been asked the same."""
    return {}


@pytest.fixture(params=FRAMEWORKS)
def api(request: pytest.FixtureRequest, house: House, transcripts: dict[str, Transcript]) -> Iterator[Api]:
    """A front door on an empty database.

    Whatever a test asks, it asks both doors in turn; at the second, every answer must be the first one's twin, in
    status, headers and body, and every letter that went out as well. So each test of the contract is a test of parity.
    """
    found = house.api(request.param)
    transcript = Transcript(found.driver)
    yield replace(found, driver=transcript)
    transcript.letters = comparable_letters(house.mailer.letters)
    twin = transcripts.pop(request.node.nodeid.replace(request.param, "-"), None)
    if twin is None:
        transcripts[request.node.nodeid.replace(request.param, "-")] = transcript
    else:
        assert transcript.answers == twin.answers
        assert transcript.letters == twin.letters


@pytest.fixture
def both(house: House) -> tuple[Api, Api]:
    """Both front doors of one house."""
    return house.api("flask"), house.api("fastapi")
