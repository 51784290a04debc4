"""One `api` over {flask, fastapi} x {sqlite, postgres}. A test never asks which one it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp, build
from core.repositories.unit_of_work import SqlStore
from tests.api import Api
from tests.clock import START, FakeClock
from tests.conftest import make_settings
from tests.databases import assert_nothing_checked_out, empty
from tests.drivers import AsgiDriver, Driver, WsgiDriver
from tests.parity import Transcript

FRAMEWORKS = ("flask", "fastapi")
DATABASES = ("sqlite", "postgres")


@dataclass(frozen=True)
class House:
    """One service on one database, with both front doors."""

    store: SqlStore
    auth: AuthApp
    clock: FakeClock
    doors: dict[str, Driver]

    def api(self, framework: str) -> Api:
        return Api(self.doors[framework], self.auth, self.clock)


def open_house(store: SqlStore, loop: asyncio.AbstractEventLoop, **changes: Any) -> House:
    clock = FakeClock()
    auth = build(make_settings(**changes), store=store, clock=clock)
    doors: dict[str, Driver] = {
        "flask": WsgiDriver(create_flask(auth)),
        "fastapi": AsgiDriver(create_fastapi(auth), loop),
    }
    return House(store, auth, clock, doors)


@pytest.fixture(scope="session")
def houses(stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop) -> Callable[[str], House]:
    opened: dict[str, House] = {}

    def open_named(name: str) -> House:
        if name not in opened:
            opened[name] = open_house(stores(name), loop)
        return opened[name]

    return open_named


@pytest.fixture(params=DATABASES)
def house(request: pytest.FixtureRequest, houses: Callable[[str], House]) -> Iterator[House]:
    found = houses(request.param)
    found.clock.at = START
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
    status, headers and body. So each test of the contract is a test of parity as well.
    """
    found = house.api(request.param)
    transcript = Transcript(found.driver)
    yield replace(found, driver=transcript)
    twin = transcripts.pop(request.node.nodeid.replace(request.param, "-"), None)
    if twin is None:
        transcripts[request.node.nodeid.replace(request.param, "-")] = transcript
    else:
        assert transcript.answers == twin.answers


@pytest.fixture
def both(house: House) -> tuple[Api, Api]:
    """Both front doors of one house."""
    return house.api("flask"), house.api("fastapi")
