"""One `api` over {flask, fastapi} x {sqlite, postgres}, or over a stack that runs. No test asks which one it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from lab.stack.outside import why_not
from tests.support.api import Api
from tests.support.clock import START
from tests.support.databases import assert_nothing_checked_out, empty
from tests.support.parity import Transcript, comparable_letters
from tests.support.services import DATABASES, FRAMEWORKS, OUTSIDE, OpenDoor, Service, open_service, outside_service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """From outside, only a test that asks through `api` asks the stack, and some of those cannot."""
    if OUTSIDE:
        for item in items:
            asks = {"api", "both"} & set(getattr(item, "fixturenames", ()))
            if why := why_not(item.name) if asks else "asks no stack":
                item.add_marker(pytest.mark.skip(reason=why))


OpenService = Callable[[str, MailSettings], Service]


@pytest.fixture(scope="session")
def services(stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop) -> Iterator[OpenService]:
    """Open a service by the name of its database and its mail settings, once a session."""
    opened: dict[tuple[str, MailSettings], Service] = {}
    with ExitStack() as outside:

        def open_new(name: str, mail: MailSettings) -> Service:
            if OUTSIDE is None:
                return open_service(stores(name), loop, mail=mail)
            OUTSIDE.require(mail)
            return outside_service(OUTSIDE, outside.enter_context(closing(OUTSIDE.store())), mail)

        def open_named(name: str, mail: MailSettings) -> Service:
            if (name, mail) not in opened:
                opened[name, mail] = open_new(name, mail)
            return opened[name, mail]

        yield open_named


@pytest.fixture
def mail() -> MailSettings:
    """The mail settings of the service; a test or a module that wants others says so."""
    return MailSettings()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """The name of the database behind it; a test or a module that asks one alone says so (`on_one_database`)."""
    name: str = request.param
    return name


@pytest.fixture
def service(database: str, services: OpenService, mail: MailSettings) -> Iterator[Service]:
    found = services(database, mail)
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
def api(request: pytest.FixtureRequest, service: Service, transcripts: dict[str, Transcript]) -> Iterator[Api]:
    """A front door on an empty database.

    Whatever a test asks, it asks both doors in turn; at the second, every answer must be the first one's twin, in
    status, headers and body, and every letter that went out as well. So each test of the contract is a test of parity.
    """
    found = service.api(request.param)
    transcript = Transcript(found.driver)
    yield replace(found, driver=transcript)
    transcript.letters = comparable_letters(service.mailer.letters)
    twin = transcripts.pop(request.node.nodeid.replace(request.param, "-"), None)
    if twin is None:
        transcripts[request.node.nodeid.replace(request.param, "-")] = transcript
    else:
        assert transcript.answers == twin.answers
        assert transcript.letters == twin.letters


@pytest.fixture(params=FRAMEWORKS)
def door(
    request: pytest.FixtureRequest, stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop
) -> Iterator[OpenDoor]:
    """Open a front door of a service with other settings."""
    store = stores("sqlite")
    yield lambda **changes: open_service(store, loop, **changes).api(request.param)
    empty(store)


@pytest.fixture
def both(service: Service) -> tuple[Api, Api]:
    """Both front doors of one service."""
    return service.api("flask"), service.api("fastapi")
