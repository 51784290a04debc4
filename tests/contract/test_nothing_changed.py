"""A change that changes nothing writes nothing: no event that is kept for a year, no message, no time of a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from core.sql_store import metadata
from tests.support.api import EMAIL, PASSWORD, Api
from tests.support.contract import OPERATIONS

# What is about the request and not about the account: the attempt whose password was right.
NOT_COMPARED = ("throttle_counters",)


def everything(api: Api) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    with api.engine.connect() as connection:
        return {
            table.name: sorted(repr({**row}) for row in connection.execute(select(table)).mappings())
            for table in metadata.sorted_tables
            if table.name not in NOT_COMPARED
        }


def rename(api: Api, token: str) -> int:
    return api.patch("/v1/account", {"display_name": "Ann"}, token=token).status


def end_others(api: Api, token: str) -> int:
    return api.delete("/v1/sessions?keep_current=true", token=token).status


def ask_for_verification(api: Api, token: str) -> int:
    return api.post("/v1/send-email-verification", token=token).status


def change_address(api: Api, token: str) -> int:
    return api.ask_for_change(token, EMAIL).status


def revoke_junk(api: Api, _token: str) -> int:
    return api.post("/v1/revoke", form={"token": "twr_junk"}).status


# By operation: how to ask for what is so already, and what is answered.
REPEATED: dict[str, tuple[Callable[[Api, str], int], int]] = {
    "update_account": (rename, 200),
    "end_sessions": (end_others, 204),
    "send_email_verification": (ask_for_verification, 202),
    "change_email": (change_address, 202),
    "revoke": (revoke_junk, 200),
}
# Each begins, ends or records something whenever it succeeds.
ALWAYS_A_CHANGE = {
    "signup": "an account, or a notice to its owner",
    "login": "a session",
    "token": "a session, or its next generation",
    "refresh": "the next generation of a session",
    "logout": "ends the caller's session, which is live",
    "end_session": "ends a session that is live; of another it is 404",
    "change_password": "a new hash, and the end of every other session",
    "export_account": "who has read everything is recorded",
    "delete_account": "the end of the account",
    "send_password_reset": "one row, whoever has the address: otherwise it would tell",
    "reset_password": "uses up a link",
    "verify_email": "uses up a link",
    "disown_account": "the end of the account",
    "undo_email_change": "uses up a link",
}
READS = {"whoami", "forward_auth", "list_sessions", "introspect", "revocations"}


def test_every_operation_is_judged() -> None:
    with_data = {
        name for name, operation in OPERATIONS.items() if operation.uses_database and operation.path[:4] == "/v1/"
    }
    assert with_data == REPEATED.keys() | ALWAYS_A_CHANGE.keys() | READS


@pytest.fixture
def token(api: Api) -> str:
    """Of a user with a verified address and a name."""
    api.verified()
    found: str = api.login()["access_token"]
    assert rename(api, found) == 200
    return found


@pytest.mark.parametrize("name", REPEATED)
def test_asked_for_what_is_so_already_it_writes_nothing(api: Api, token: str, name: str) -> None:
    ask, status = REPEATED[name]
    before = everything(api)
    api.clock.advance(seconds=60)
    assert ask(api, token) == status
    assert everything(api) == before


def test_the_name_that_an_account_has_is_answered_as_it_was(api: Api, token: str) -> None:
    before = api.whoami(token).json
    api.clock.advance(seconds=60)
    assert api.patch("/v1/account", {"display_name": "Ann"}, token=token).json == before
    after = api.patch("/v1/account", {"display_name": None}, token=token).json
    assert after["updated_at"] != before["updated_at"]


def test_a_name_that_another_request_has_changed_is_set_again(api: Api, token: str) -> None:
    other = api.login(EMAIL, PASSWORD)["access_token"]
    assert api.patch("/v1/account", {"display_name": "Anna"}, token=other).status == 200
    answer: dict[str, Any] = api.patch("/v1/account", {"display_name": "Ann"}, token=token).json
    assert answer["display_name"] == "Ann"
