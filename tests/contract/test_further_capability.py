"""A capability costs its folder and its handlers: one that stands outside the product is served at both doors."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from api_fastapi.app import create_app as create_fastapi
from api_flask.app import create_app as create_flask
from core.app import build
from core.capabilities import ports_of
from core.http.openapi import document
from core.sql_store import SqlStore
from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.databases import empty
from tests.support.drivers import AsgiDriver, Driver, WsgiDriver
from tests.support.mail import RecordingMailer
from tests.support.notes.capability import NOTE_BOOK
from tests.support.notes.fastapi import router_of
from tests.support.notes.flask import blueprint_of
from tests.support.notes.service import NoteBook
from tests.support.notes.sql import notes
from tests.support.services import DATABASES, FRAMEWORKS
from tests.support.settings import make_settings


@pytest.fixture(params=DATABASES)
def doors(
    request: pytest.FixtureRequest, stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop
) -> Iterator[dict[str, Api]]:
    """Both doors of a service with notes, over one database; the second asks what the first was asked."""
    engine = stores(request.param).engine
    store, clock, mailer = SqlStore(engine, ports_of([NOTE_BOOK])), FakeClock(), RecordingMailer()
    notes.create(engine)
    auth = build(make_settings(), store=store, clock=clock, mailer=mailer, further=[NOTE_BOOK])
    book = NoteBook(store=store, clock=clock)
    drivers: dict[str, Driver] = {
        "flask": WsgiDriver(create_flask(auth, blueprint_of(book))),
        "fastapi": AsgiDriver(create_fastapi(auth, router_of(book)), loop),
    }
    yield {name: Api(driver, auth, clock, mailer) for name, driver in drivers.items()}
    notes.drop(engine)
    empty(store)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_is_served_with_its_table_operations_errors_letter_purge_and_part_of_the_export(
    doors: dict[str, Api], framework: str
) -> None:
    api = doors[framework]
    token = api.signed_in()["access_token"]
    api.deliver()

    written = api.post("/v1/notes", {"text": "milk"}, token=token)
    assert (written.status, written.json["text"]) == (201, "milk")
    again = api.post("/v1/notes", {"text": "milk"}, token=token)
    assert (again.status, again.json["code"]) == (409, "note_taken")
    assert api.get("/problems/note_taken").json["status"] == 409
    assert api.post("/v1/notes", {"text": ""}, token=token).status == 422
    assert api.get("/v1/notes").status == 401
    assert [note["text"] for note in api.get("/v1/notes", token=token).json["items"]] == ["milk"]
    assert api.send("PUT", "/v1/notes").header("Allow") == "GET, HEAD, OPTIONS, POST"

    (letter,) = api.deliver()
    assert letter["Subject"] == "A new note"
    exported = api.get("/v1/account/export", token=token).json
    assert [note["text"] for note in exported["notes"]] == ["milk"]
    document = api.get("/openapi.json").json
    assert document["paths"]["/v1/notes"].keys() == {"get", "post"}
    assert {"name": "notes", "description": "What users write down."} in document["tags"]

    api.clock.advance(seconds=timedelta(days=1, seconds=1).total_seconds())
    assert api.auth.housekeeper.run_once() >= 1
    assert api.get("/v1/notes", token=api.login()["access_token"]).json == {"items": []}


def test_both_doors_answer_alike_and_fastapi_makes_the_same_document(doors: dict[str, Api]) -> None:
    flask, fastapi = doors["flask"], doors["fastapi"]
    assert flask.get("/openapi.json").body == fastapi.get("/openapi.json").body
    router = router_of(NoteBook(store=flask.auth.store, clock=flask.clock))
    generated = create_fastapi(flask.auth, router).openapi()
    assert json.loads(json.dumps(generated)) == json.loads(
        json.dumps(document(flask.auth.contract, flask.auth.settings.http.public_url))
    )
    token = flask.signed_in()["access_token"]
    asked = [api.post("/v1/notes", {"text": "tea"}, token=token) for api in (flask, fastapi)]
    assert [answer.status for answer in asked] == [201, 409]
    read = [api.get("/v1/notes", token=token) for api in (flask, fastapi)]
    assert read[0].json == read[1].json
