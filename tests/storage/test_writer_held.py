"""While somebody else writes, strangers with junk are answered at once: refusing costs no more than serving."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from api_flask.app import create_app
from core.app import build
from core.audit.model import EventKind
from core.capabilities import CONTRACT
from core.contract.operation import Operation
from core.oauth.model import new_secret
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore
from tests.support.api import PASSWORD, Api
from tests.support.clock import FakeClock
from tests.support.database_faults import locked_by_another_process, opened, url_of
from tests.support.drivers import WsgiDriver
from tests.support.settings import make_settings
from tests.support.values import events_in

PATIENCE = timedelta(seconds=1)
AT_ONCE = 0.5  # seconds
NOBODY = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
LINK, REFRESH_TOKEN, ACCESS_TOKEN = f"twm_{'A' * 32}", f"twr_{'A' * 72}", "a.b.c"
CLIENT, SECRET = f"twc_{'0' * 32}", new_secret()
Sent = dict[str, Any]

# Requests of the right form that nobody could be served with: with a token, a link or a client that there is not.
JUNK: dict[str, list[Sent]] = {
    "refresh": [{"json": {"refresh_token": REFRESH_TOKEN}}],
    "reset_password": [{"json": {"token": LINK, "new_password": PASSWORD}}],
    "verify_email": [{"json": {"token": LINK}}],
    "disown_account": [{"json": {"token": LINK}}],
    "undo_email_change": [{"json": {"token": LINK}}],
    "token": [
        {"form": {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}},
        {"form": {"grant_type": "client_credentials"}},
        {"form": {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}},
        {"form": {"grant_type": "junk"}},
    ],
    "revoke": [
        {"form": {"token": token, **proof}}
        for token in (ACCESS_TOKEN, REFRESH_TOKEN)
        for proof in ({}, {"client_id": CLIENT, "client_secret": SECRET})
    ],
    "introspect": [
        {"form": {"token": token, **proof}}
        for token in (ACCESS_TOKEN, REFRESH_TOKEN)
        for proof in ({}, {"client_id": CLIENT, "client_secret": SECRET})
    ],
}
# These write for strangers who do nothing wrong, or count what they do: it is their purpose, and they wait.
WRITERS: dict[str, Sent] = {
    "signup": {"json": {"email": "eve@example.com", "password": PASSWORD}},
    "login": {"json": {"email": "eve@example.com", "password": PASSWORD}},
    "send_password_reset": {"json": {"email": "eve@example.com"}},
    "token": {"form": {"grant_type": "password", "username": "eve@example.com", "password": PASSWORD}},
}
CALLERS: dict[str, list[tuple[str, str]]] = {
    "anonymous": [],
    "with a junk token": [("Authorization", f"Bearer {ACCESS_TOKEN}")],
    "as a client that nobody knows": [("Authorization", f"Basic {b64encode(f'{CLIENT}:{SECRET}'.encode()).decode()}")],
    "as a client without a form": [("Authorization", "Basic anVuazpqdW5r")],
}


@pytest.fixture
def api(sqlite_store: SqlStore) -> Iterator[Api]:
    clock = FakeClock()
    with opened(url_of(sqlite_store), timeout=PATIENCE) as store:
        auth = build(make_settings(database=DatabaseSettings(timeout=PATIENCE)), store=store, clock=clock)
        api = Api(WsgiDriver(create_app(auth)), auth, clock)
        auth.keys.ensure()
        yield api


def junk(operation: Operation) -> list[Sent]:
    """What nobody could be served with: of the right form, of the wrong one, and of none."""
    malformed: list[Sent] = [{}]
    if operation.form or operation.json:
        malformed = [{"form" if operation.form else "json": {"junk": "1"}}, {"content": b"junk"}]
    return [*JUNK.get(operation.id, []), *malformed]


def timed(api: Api, operation: Operation, sent: Sent, caller: str) -> tuple[int, float]:
    started = time.perf_counter()
    answer = api.send(operation.method, target(operation), headers=CALLERS[caller], **sent)
    return answer.status, time.perf_counter() - started


def target(operation: Operation) -> str:
    path = operation.path
    for name, parameter in operation.parameters.items():
        path = path.replace(f"{{{name}}}", NOBODY if parameter.kind is not str else "x")
    return path


@pytest.mark.parametrize("caller", CALLERS)
def test_a_stranger_with_junk_needs_no_writer(api: Api, sqlite_store: SqlStore, caller: str) -> None:
    """On SQLite, where there is one: a stranger who takes it with each request keeps everybody from writing."""
    late = []
    with locked_by_another_process(sqlite_store):
        for operation in CONTRACT.operations.values():
            for sent in junk(operation):
                status, seconds = timed(api, operation, sent, caller)
                if status >= 500 or seconds > AT_ONCE:
                    late.append((operation.id, sent, status, seconds))
    assert late == []


def test_the_junk_is_of_every_operation_that_takes_tokens_and_clients() -> None:
    operations = CONTRACT.operations
    assert JUNK.keys() | WRITERS.keys() <= operations.keys()
    assert {found.id for found in operations.values() if found.form} <= JUNK.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_what_has_to_write_is_refused_when_its_time_is_over(api: Api, sqlite_store: SqlStore, name: str) -> None:
    with locked_by_another_process(sqlite_store):
        status, seconds = timed(api, CONTRACT.operations[name], WRITERS[name], "anonymous")
    assert status == 503
    assert seconds < PATIENCE.total_seconds() + AT_ONCE


def test_a_guess_that_has_to_wait_needs_no_writer(api: Api, sqlite_store: SqlStore) -> None:
    login = CONTRACT.operations["login"]
    assert [timed(api, login, WRITERS["login"], "anonymous")[0] for _ in range(6)] == [401] * 5 + [429]
    with locked_by_another_process(sqlite_store):
        status, seconds = timed(api, login, WRITERS["login"], "anonymous")
    assert status == 429
    assert seconds < AT_ONCE


def test_a_refused_client_is_recorded_where_there_is_a_writer(api: Api, sqlite_store: SqlStore) -> None:
    introspect, sent = CONTRACT.operations["introspect"], {"form": {"token": ACCESS_TOKEN}}
    with locked_by_another_process(sqlite_store), capture_logs() as lines:
        assert timed(api, introspect, sent, "as a client that nobody knows")[0] == 401
    assert events_in(sqlite_store) == []
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["refusal_not_recorded"]
    assert timed(api, introspect, sent, "as a client that nobody knows")[0] == 401
    (recorded,) = events_in(sqlite_store)
    assert (recorded.kind, recorded.subject) == (EventKind.CLIENT_REFUSED, CLIENT)
