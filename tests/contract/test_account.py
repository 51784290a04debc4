"""PATCH /v1/account and POST /v1/account/password."""

import bcrypt
import pytest
from sqlalchemy import update

from core.repositories.tables import users
from tests.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api


def test_the_display_name_is_changed_and_removed(api: Api) -> None:
    token = api.signed_in()["access_token"]
    api.clock.advance(seconds=5)
    answer = api.patch("/v1/account", {"display_name": "Ann B."}, token=token)
    assert (answer.status, answer.json["display_name"]) == (200, "Ann B.")
    assert answer.json["updated_at"] == "2026-11-21T09:30:05Z"
    assert api.whoami(token).json == answer.json
    assert api.patch("/v1/account", {"display_name": None}, token=token).json["display_name"] is None


@pytest.mark.parametrize(
    "body", [{}, {"display_name": 1}, {"display_name": "x" * 101}, {"display_name": "Ann", "roles": ["admin"]}]
)
def test_nothing_else_of_the_account_is_changed(api: Api, body: dict[str, object]) -> None:
    token = api.signed_in()["access_token"]
    before = api.whoami(token).json
    assert api.patch("/v1/account", body, token=token).status == 422
    assert api.whoami(token).json == before


def change(api: Api, token: str, current: str = PASSWORD, new: str = OTHER_PASSWORD) -> tuple[int, str | None]:
    answer = api.post("/v1/account/password", {"current_password": current, "new_password": new}, token=token)
    return answer.status, answer.json["code"] if answer.body else None


def test_a_new_password_ends_every_other_session(api: Api) -> None:
    other, current = api.signed_in(), api.login()
    assert change(api, current["access_token"]) == (204, None)
    assert api.whoami(other["access_token"]).status == 401
    assert api.refresh(other["refresh_token"]).status == 401
    assert api.whoami(current["access_token"]).status == 200
    assert api.refresh(current["refresh_token"]).status == 200
    assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401
    api.login(EMAIL, OTHER_PASSWORD)


def test_a_wrong_current_password_changes_nothing(api: Api) -> None:
    other, current = api.signed_in(), api.login()
    assert change(api, current["access_token"], current="not the password") == (403, "wrong_password")
    assert api.whoami(other["access_token"]).status == 200
    api.login(EMAIL, PASSWORD)


@pytest.mark.parametrize("new", ["too short", "passwordpassword", f"my {EMAIL} password"])
def test_the_policy_holds_for_a_change(api: Api, new: str) -> None:
    token = api.signed_in()["access_token"]
    answer = api.post("/v1/account/password", {"current_password": PASSWORD, "new_password": new}, token=token)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == ["/new_password"]
    api.login(EMAIL, PASSWORD)


def test_a_hash_that_a_login_upgraded_meanwhile_is_checked_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    token = api.signed_in()["access_token"]
    accounts, stored = api.auth.accounts, bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    with api.auth.store.engine.begin() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        connection.execute(update(users).values(password_hash=stored))
    passwords = accounts._passwords
    verify, turns = passwords.verify, [stored]

    def login_first(password: str, found: str | None) -> bool:
        if found in turns:
            turns.remove(found)
            api.login()
        return verify(password, found)

    monkeypatch.setattr(passwords, "verify", login_first)
    assert change(api, token) == (204, None)


def test_a_change_needs_the_current_password(api: Api) -> None:
    token = api.signed_in()["access_token"]
    answer = api.post("/v1/account/password", {"new_password": OTHER_PASSWORD}, token=token)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/current_password")
