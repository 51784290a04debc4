"""PATCH /v1/account and POST /v1/account/password, and what owners are told of."""

from itertools import pairwise

import bcrypt
import pytest
from sqlalchemy import update

from core.mail.transports import recipient_of, text_of
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of
from tests.support.services import on_one_database


def test_the_display_name_is_changed_and_removed(api: Api) -> None:
    token = api.signed_in()["access_token"]
    api.clock.advance(seconds=5)
    answer = api.patch("/v1/account", {"display_name": "Ann B."}, token=token)
    assert (answer.status, answer.json["display_name"]) == (200, "Ann B.")
    assert answer.json["updated_at"] == "2026-11-21T09:30:05Z"
    assert api.whoami(token).json == answer.json
    assert api.patch("/v1/account", {"display_name": None}, token=token).json["display_name"] is None


@on_one_database
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


@on_one_database
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
    with api.engine.begin() as connection:
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


def test_a_new_password_is_told_to_the_owner(api: Api) -> None:
    api.verified()
    assert change(api, api.login()["access_token"]) == (204, None)
    notice = api.letter("password_changed")
    assert (recipient_of(notice), notice["Subject"]) == (EMAIL, "Your password was changed")
    assert "127.0.0.1" in text_of(notice)
    assert "twm_" not in notice.as_string()


def change_eight_times(api: Api) -> list[str]:
    """The letters that eight changes of the password lead to."""
    token = api.login()["access_token"]
    passwords = [PASSWORD, *(f"sentence number {number}" for number in range(8))]
    for current, new in pairwise(passwords):
        assert change(api, token, current, new) == (204, None)
    return [kind_of(letter) for letter in api.deliver()]


def test_notices_to_a_verified_address_have_no_limit(api: Api) -> None:
    api.verified()
    assert change_eight_times(api) == ["password_changed"] * 8


def test_an_address_that_nobody_verified_is_sent_five_notices_an_hour(api: Api) -> None:
    """Anybody can sign up with it."""
    api.signup()
    api.deliver()
    assert change_eight_times(api) == ["password_changed"] * 5


@on_one_database
@pytest.mark.parametrize(
    ("current", "new"), [("not the password", OTHER_PASSWORD), (PASSWORD, "too short"), (PASSWORD, f"my {EMAIL} one")]
)
def test_a_change_that_is_refused_is_told_to_nobody(api: Api, current: str, new: str) -> None:
    api.verified()
    assert change(api, api.login()["access_token"], current, new)[0] in (403, 422)
    assert api.deliver() == []


def test_a_refresh_token_that_comes_back_is_told_to_the_owner_once(api: Api) -> None:
    api.verified()
    pair = api.login()
    api.refresh(pair["refresh_token"])
    assert api.deliver() == []
    api.clock.advance(seconds=60)
    for _ in range(3):
        assert api.refresh(pair["refresh_token"]).status == 401
    (notice,) = api.deliver()
    assert (kind_of(notice), recipient_of(notice)) == ("session_ended", EMAIL)
    assert notice["Subject"] == "One of your logins was ended for safety"
    assert "twr_" not in notice.as_string() + text_of(notice)


def test_logins_and_logouts_are_told_to_nobody(api: Api) -> None:
    api.verified()
    pair = api.login()
    api.refresh(pair["refresh_token"])
    api.post("/v1/login", {"email": EMAIL, "password": OTHER_PASSWORD})
    api.patch("/v1/account", {"display_name": "Ann"}, token=pair["access_token"])
    api.post("/v1/logout", token=pair["access_token"])
    assert api.deliver() == []
