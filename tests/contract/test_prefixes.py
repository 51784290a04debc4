"""A prefix changes nothing but the prefix: in another application, by the server's option, by a proxy that keeps it.

Each operation is asked where the service stands alone and where it stands under a prefix, and the answers are compared.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import AuthApp
from core.contract.operation import Auth, Operation
from core.settings.groups import HttpSettings
from core.sql_store import SqlStore
from tests.support.api import OTHER_PASSWORD, PASSWORD, Api
from tests.support.clock import START, FakeClock
from tests.support.contract import OPERATIONS
from tests.support.databases import empty
from tests.support.drivers import Answer, AsgiDriver, Driver, Headers, WsgiDriver
from tests.support.parity import Comparable, Transcript
from tests.support.service_clients import register
from tests.support.services import Service, open_service
from tests.support.settings import AMPLE

PREFIX = "/auth"
PARTS = {"{session_id}": "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21", "{code}": "email_taken", "{name}": "links.js"}
MEMBERS: dict[str, Any] = {
    "password": PASSWORD,
    "current_password": PASSWORD,
    "new_password": OTHER_PASSWORD,
    "new_email": "new@example.org",
    "display_name": "Ann",
    "token": "twm_" + "A" * 32,
    "grant_type": "password",
}


@dataclass(frozen=True)
class Below:
    """A driver that asks below a prefix."""

    driver: Driver

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        return self.driver.send(method, PREFIX + target, headers, body, chunked=chunked)


@dataclass(frozen=True)
class Ticking:
    """A driver that asks at an instant of its own: what happens at one has no order."""

    driver: Driver
    clock: FakeClock

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        self.clock.advance(seconds=1)
        return self.driver.send(method, target, headers, body, chunked=chunked)


def scoped(app: Any) -> Any:
    """As uvicorn does with `--root-path`: it puts the prefix before a path that a proxy has cut."""

    async def run(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await app({**scope, "root_path": PREFIX, "path": PREFIX + scope["path"]}, receive, send)

    return run


def scripted(app: Any) -> Any:
    """As a WSGI server does that knows the prefix of a path that a proxy has cut."""
    return lambda environ, start: app({**environ, "SCRIPT_NAME": PREFIX}, start)


def mounted(app: FastAPI) -> FastAPI:
    host = FastAPI()
    host.mount(PREFIX, app)
    return host


Place = Callable[[AuthApp, asyncio.AbstractEventLoop], Driver]
PLACES: dict[str, Place] = {
    "FastAPI in FastAPI": lambda auth, loop: Below(AsgiDriver(mounted(create_fastapi(auth)), loop)),
    "Flask in Flask": lambda auth, _: Below(
        WsgiDriver(DispatcherMiddleware(Flask("host"), {PREFIX: create_flask(auth)}))
    ),
    "FastAPI with a root path": lambda auth, loop: AsgiDriver(scoped(create_fastapi(auth)), loop),
    "Flask with a script name": lambda auth, _: WsgiDriver(scripted(create_flask(auth))),
}
# Where a setting names the prefix.
KEPT: dict[str, Place] = {
    "FastAPI": lambda auth, loop: Below(AsgiDriver(create_fastapi(auth), loop)),
    "Flask": lambda auth, _: Below(WsgiDriver(create_flask(auth))),
}
TAKEN: dict[str, Place] = {
    "FastAPI": lambda auth, loop: AsgiDriver(create_fastapi(auth), loop),
    "Flask": lambda auth, _: WsgiDriver(create_flask(auth)),
}


def ask(api: Api, operation: Operation, client: Headers) -> None:
    """Ask an operation as somebody who may; and its path by other methods."""
    email = f"{operation.id}@example.com".replace("_", "-")
    token = api.signed_in(email)["access_token"]
    right = MEMBERS | {"email": f"new.{email}" if operation.id == "signup" else email, "username": email}
    path = operation.path
    for name, value in PARTS.items():
        path = path.replace(name, value)
    sender: dict[str, Any] = {"token": token} if operation.auth in (Auth.USER, Auth.BEARER) else {"headers": client}
    models = {"json": operation.json, "form": operation.form}
    bodies: dict[str, Any] = {
        kind: {name: right[name] for name in model.model_fields if name in right}
        for kind, model in models.items()
        if model
    }
    for method in ("HEAD", "OPTIONS", "QUERY"):
        api.send(method, path, **sender)
    api.send(operation.method, path, **sender, **bodies)


def walk(service: Service, driver: Driver) -> list[Comparable]:
    """The answers of every operation, and of what is no path."""
    service.clock.at = START
    empty(service.store)
    transcript = Transcript(Ticking(driver, service.clock))
    api = replace(service.api("flask"), driver=transcript)
    client = register(api).headers
    for operation in OPERATIONS.values():
        ask(api, operation, client if operation.auth is Auth.CLIENT else [])
    for path in ("/nope", "//healthz", "/v1/", "/"):
        api.get(path)
    return [answer for _, _, answer in transcript.answers]


def cut(answer: Comparable) -> Comparable:
    """An answer without the prefix, and without its length, which counts it."""
    status, headers, body = answer
    headers = [(name, value) for name, value in headers if name != "content-length"]
    return status, headers, body.replace(f'"{PREFIX}/problems/', '"/problems/')


def assert_below(answers: list[Comparable]) -> None:
    """What leads somewhere leads below the prefix."""
    kinds = [kind for _, _, body in answers for kind in re.findall(r'"type":"([^"]*)"', body)]
    assert len(kinds) > 20
    assert [kind for kind in kinds if not kind.startswith(f"{PREFIX}/problems/")] == []


@pytest.fixture
def store(stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    found = stores("sqlite")
    yield found
    empty(found)


def test_every_operation_answers_below_a_prefix_as_alone(store: SqlStore, loop: asyncio.AbstractEventLoop) -> None:
    service = open_service(store, loop, throttling=AMPLE)
    alone = walk(service, service.doors["flask"])
    assert {status for status, _, _ in alone} >= {200, 201, 202, 204, 400, 404, 405}
    for name, place in PLACES.items():
        answers = walk(service, place(service.auth, loop))
        assert list(map(cut, answers)) == list(map(cut, alone)), name
        assert_below(answers)


@pytest.mark.parametrize("setting", [{"root_path": PREFIX}, {"public_url": f"https://example.com{PREFIX}"}])
def test_a_proxy_may_keep_the_prefix_or_take_it_away(
    store: SqlStore, loop: asyncio.AbstractEventLoop, setting: dict[str, Any]
) -> None:
    service = open_service(store, loop, throttling=AMPLE, http=HttpSettings(**setting))
    answers = {
        (name, way): walk(service, place(service.auth, loop))
        for way, places in (("taken", TAKEN), ("kept", KEPT))
        for name, place in places.items()
    }
    first = answers["Flask", "taken"]
    assert_below(first)
    for name, found in answers.items():
        assert found == first, name


def test_where_it_is_mounted_is_told_where_nothing_else_is_known(
    store: SqlStore, loop: asyncio.AbstractEventLoop
) -> None:
    """The public URL is what callers see, whatever lies between."""
    service = open_service(store, loop, http=HttpSettings(public_url="https://example.com/sso/auth"))
    for name, place in PLACES.items():
        answer = place(service.auth, loop).send("GET", "/nope", [], b"")
        assert answer.json["type"] == "/sso/auth/problems/not_found", name


def test_a_path_of_the_contract_is_never_cut(store: SqlStore, loop: asyncio.AbstractEventLoop) -> None:
    service = open_service(store, loop, http=HttpSettings(root_path="/v1"))
    for driver in service.doors.values():
        for path, status in (("/v1/whoami", 401), ("/v1/v1/whoami", 401), ("/v1/healthz", 200), ("/v1", 404)):
            assert driver.send("GET", path, [], b"").status == status, path


def test_the_document_leads_below_the_prefix_wherever_it_is(store: SqlStore, loop: asyncio.AbstractEventLoop) -> None:
    service = open_service(store, loop)
    for place in PLACES.values():
        document = place(service.auth, loop).send("GET", "/openapi.json", [], b"").json
        _, beside = document["servers"]
        assert urljoin(f"https://example.com{PREFIX}/openapi.json", beside["url"]) == f"https://example.com{PREFIX}/"
