"""A text of every hostile kind in every field of every operation: taken as a text, or refused with 4xx.

Field by field, the next text of each kind is taken, so that over all of them every text is asked many times.
PostgreSQL is the database that has opinions about texts; what is kept is read back from both.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest

from core.contract.operation import Auth, Operation
from core.throttling.sql import throttle_counters
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.contract import OPERATIONS
from tests.support.drivers import Answer, Headers
from tests.support.hostile import HOSTILE
from tests.support.service_clients import register
from tests.support.services import DATABASES

TEXTS = [text for texts in HOSTILE.values() for text in texts]


def in_bytes(text: str) -> bytes:
    """UTF-8, as far as a text can be; half a pair as the bytes that would be it."""
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Person:
    """Somebody with an account, a session and the secret of a client, and what belongs into each field."""

    api: Api
    token: str
    basic: Headers
    right: dict[str, str]

    @classmethod
    def of(cls, api: Api) -> Person:
        pair = api.signed_in()
        link = api.reset_token()
        right = {
            "email": EMAIL,
            "new_email": OTHER_EMAIL,
            "password": PASSWORD,
            "current_password": PASSWORD,
            "new_password": OTHER_PASSWORD,
            "display_name": "Ann",
            "token": link,
            "refresh_token": pair["refresh_token"],
            "username": EMAIL,
        }
        return cls(api, pair["access_token"], register(api).headers, right)

    def ask(self, operation: Operation, *, target: str, fields: Headers | None = None, **body: Any) -> Answer:
        """Ask as somebody who may, whatever was asked before."""
        with self.api.engine.begin() as connection:
            connection.execute(throttle_counters.delete())
        headers = list(fields or ())
        is_known = "Authorization" in {name for name, _ in headers}
        if operation.auth is Auth.CLIENT and not is_known:
            headers += self.basic
        of_users = (Auth.USER, Auth.OPTIONAL_USER, Auth.BEARER)
        token = self.token if operation.auth in of_users and not is_known else None
        return self.api.send(operation.method, target, token=token, headers=headers, **body)

    def members(self, model: Any) -> dict[str, str]:
        return {name: self.right[name] for name in model.model_fields if name in self.right}


Ask = Callable[[Person, str], Answer]


def in_json(operation: Operation, name: str) -> Ask:
    def ask(person: Person, text: str) -> Answer:
        unknown = {"email": f"new.{TEXTS.index(text)}@example.com"} if operation.id == "signup" else {}
        body = json.dumps(person.members(operation.json) | unknown | {name: text}).encode()
        headers = [("Content-Type", "application/json")]
        return person.ask(operation, target=operation.path, fields=headers, content=body)

    return ask


# The grant that reads a parameter, and the client that asks for scopes.
GRANTS = {"refresh_token": "refresh_token", "scope": "client_credentials"}


def in_form(operation: Operation, name: str) -> Ask:
    def ask(person: Person, text: str) -> Answer:
        grant = {"grant_type": GRANTS.get(name, "password")} if operation.id == "token" else {}
        pairs = person.members(operation.form) | grant | {name: text}
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        if name == "scope":
            headers += person.basic
        body = urlencode({key: in_bytes(value) for key, value in pairs.items()}).encode()
        return person.ask(operation, target=operation.path, fields=headers, content=body)

    return ask


def in_query(operation: Operation, name: str) -> Ask:
    return lambda person, text: person.ask(
        operation, target=f"{operation.path}?{name}={quote_from_bytes(in_bytes(text))}"
    )


def in_path(operation: Operation, name: str) -> Ask:
    before, after = operation.path.split(f"{{{name}}}")
    return lambda person, text: person.ask(
        operation, target=f"{before}{quote_from_bytes(in_bytes(text), safe='')}{after}"
    )


def in_header(operation: Operation, name: str, shape: Callable[[str], str]) -> Ask:
    """In a field of the head. What no server lets into one is left out."""

    def ask(person: Person, text: str) -> Answer:
        value = shape(text)
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            value = "x"
        body = json.dumps(person.members(operation.json)).encode() if operation.json else b""
        headers = [(name, value)] + ([("Content-Type", "application/json")] if operation.json else [])
        return person.ask(operation, target=operation.path, fields=headers, content=body)

    return ask


def as_it_is(text: str) -> str:
    return in_bytes(text).decode("latin-1").strip()


def as_bearer(text: str) -> str:
    return f"Bearer {as_it_is(text)}"


def as_client(text: str) -> str:
    return "Basic " + base64.b64encode(in_bytes(text) + b":" + in_bytes(text)).decode()


HEADERS = [
    ("login", "User-Agent", as_it_is),
    ("whoami", "X-Request-ID", as_it_is),
    ("whoami", "X-Forwarded-For", as_it_is),
    ("whoami", "Cookie", as_it_is),
    ("send_password_reset", "Accept-Language", as_it_is),
    ("revocations", "If-None-Match", as_it_is),
    ("whoami", "Origin", as_it_is),
    ("whoami", "Authorization", as_bearer),
    ("introspect", "Authorization", as_client),
]


def fields() -> Iterator[tuple[str, Operation, Ask]]:
    for operation in OPERATIONS.values():
        for maker, model in ((in_json, operation.json), (in_form, operation.form), (in_query, operation.query)):
            for name in model.model_fields if model else ():
                yield f"{operation.id} {name}", operation, maker(operation, name)
        for name in operation.parameters:
            yield f"{operation.id} {name}", operation, in_path(operation, name)
    for of, name, shape in HEADERS:
        yield f"{of} {name}", OPERATIONS[of], in_header(OPERATIONS[of], name, shape)


FIELDS = list(fields())


def texts_for(number: int) -> list[str]:
    """One text of each kind, another one for the next field."""
    return [texts[number % len(texts)] for texts in HOSTILE.values()]


def test_every_text_is_asked_of_many_fields() -> None:
    asked = Counter(text for number in range(len(FIELDS)) for text in texts_for(number))
    assert min(asked[text] for text in TEXTS) >= 5


@pytest.mark.parametrize("database", DATABASES[-1:])
@pytest.mark.parametrize("number", range(len(FIELDS)), ids=[name for name, *_ in FIELDS])
def test_a_hostile_text_in_any_field_is_a_text_or_refused(api: Api, number: int) -> None:
    _, operation, ask = FIELDS[number]
    person = Person.of(api)
    welcome = {operation.status, *operation.other_statuses}
    for text in texts_for(number):
        answer = ask(person, text)
        assert answer.status in welcome or 400 <= answer.status < 500, (text, answer.status, answer.body)


def test_a_hostile_name_is_kept_as_it_is_or_refused(api: Api) -> None:
    token = api.signed_in()["access_token"]
    kept = 0
    for text in TEXTS:
        answer = api.patch("/v1/account", {"display_name": text}, token=token)
        assert answer.status in (200, 400, 422)
        if answer.status == 200:
            kept += 1
            assert api.whoami(token).json["display_name"] == text
    assert kept > len(TEXTS) / 2
