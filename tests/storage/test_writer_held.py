"""While somebody else writes, strangers with junk are answered at once: refusing costs no more than serving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from api_flask.app import create_app
from core.app import build
from core.capabilities import CONTRACT
from core.contract.operation import Operation
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore
from tests.support.api import PASSWORD, Api
from tests.support.clock import FakeClock
from tests.support.database_faults import locked_by_another_process, opened, url_of
from tests.support.drivers import WsgiDriver
from tests.support.settings import make_settings

PATIENCE = timedelta(seconds=1)
AT_ONCE = 0.5  # seconds
NOBODY = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
LINK, REFRESH_TOKEN, ACCESS_TOKEN = f"twm_{'A' * 32}", f"twr_{'A' * 72}", "a.b.c"
JSON: dict[str, dict[str, Any]] = {
    "refresh": {"refresh_token": REFRESH_TOKEN},
    "reset_password": {"token": LINK, "new_password": PASSWORD},
    "verify_email": {"token": LINK},
    "disown_account": {"token": LINK},
    "undo_email_change": {"token": LINK},
}
FORMS = {
    "token": {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN},
    "revoke": {"token": ACCESS_TOKEN},
    "introspect": {"token": ACCESS_TOKEN},
}
# These write for a stranger who does nothing wrong, or count what one does: it is their purpose.
WRITERS = {"signup", "login", "send_password_reset"}


@pytest.fixture
def api(sqlite_store: SqlStore) -> Iterator[Api]:
    clock = FakeClock()
    with opened(url_of(sqlite_store), timeout=PATIENCE) as store:
        auth = build(make_settings(database=DatabaseSettings(timeout=PATIENCE)), store=store, clock=clock)
        api = Api(WsgiDriver(create_app(auth)), auth, clock)
        auth.keys.ensure()
        yield api


def junk(operation: Operation) -> dict[str, Any]:
    if operation.form:
        return {"form": FORMS[operation.id]}
    return {"json": JSON.get(operation.id, {"junk": 1})} if operation.json else {}


def target(operation: Operation) -> str:
    path = operation.path
    for name, parameter in operation.parameters.items():
        path = path.replace(f"{{{name}}}", NOBODY if parameter.kind is not str else "x")
    return path


def test_a_stranger_with_junk_needs_no_writer(api: Api, sqlite_store: SqlStore) -> None:
    """On SQLite, where there is one: a stranger who takes it with each request keeps everybody from writing."""
    late = {}
    with locked_by_another_process(sqlite_store):
        for operation in CONTRACT.operations.values():
            if operation.id in WRITERS:
                continue
            for token in (None, ACCESS_TOKEN):
                started = time.perf_counter()
                answer = api.send(operation.method, target(operation), token=token, **junk(operation))
                if answer.status >= 500 or time.perf_counter() - started > AT_ONCE:
                    late[operation.id] = answer.status
    assert late == {}
