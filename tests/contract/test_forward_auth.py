"""GET /v1/forward-auth: what a proxy is told of its caller."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from core.users.sql import users
from tests.support.api import EMAIL, Api
from tests.support.drivers import Answer
from tests.support.service_clients import register
from tests.support.services import on_one_database

FIELDS = ("X-User-Id", "X-User-Roles", "X-Session-Id", "X-Client-Id")


def ask(api: Api, token: str | None) -> Answer:
    return api.get("/v1/forward-auth", token=token)


def told(answer: Answer) -> tuple[str | None, ...]:
    """The fields; None is one that is not there."""
    return tuple(answer.header(name) for name in FIELDS)


def give_roles(api: Api, *roles: str) -> None:
    with api.engine.begin() as connection:
        connection.execute(update(users).values(roles=list(roles)))


def test_a_users_token_tells_user_session_and_client(api: Api) -> None:
    user = api.signup()
    token = api.login()["access_token"]
    (session,) = api.get("/v1/sessions", token=token).json["items"]
    answer = ask(api, token)
    assert (answer.status, answer.body, answer.header("Cache-Control")) == (200, b"", "no-store")
    assert told(answer) == (user["id"], "", session["id"], "twinauth")


def test_roles_are_those_of_now(api: Api) -> None:
    """Not those of the token, which may be a quarter of an hour old."""
    token = api.signed_in()["access_token"]
    give_roles(api, "admin", "editor")
    assert ask(api, token).header("X-User-Roles") == "admin,editor"


@on_one_database
def test_a_role_can_write_no_field_and_no_other_role(api: Api) -> None:
    token = api.signed_in()["access_token"]
    give_roles(api, "a,admin", "b\r\nX-User-Id: eve", "caf\u00e9", "50%")
    assert ask(api, token).header("X-User-Roles") == "a%2Cadmin,b%0D%0AX-User-Id:%20eve,caf%C3%A9,50%25"


def test_a_clients_token_tells_the_client_and_empties_the_rest(api: Api) -> None:
    client = register(api)
    answer = ask(api, client.token().json["access_token"])
    assert (answer.status, told(answer)) == (200, ("", "", "", client.id))


def test_what_the_caller_says_of_itself_is_told_to_nobody(api: Api) -> None:
    token = register(api).token().json["access_token"]
    headers = [("Authorization", f"Bearer {token}"), *((name, "admin") for name in FIELDS)]
    assert "admin" not in told(api.get("/v1/forward-auth", headers=headers))


def test_a_token_that_is_worth_nothing_is_401_as_at_whoami(api: Api) -> None:
    token = api.signed_in()["access_token"]
    api.post("/v1/logout", token=token)
    for worthless in (None, "a.b.c", token):
        asked, known = ask(api, worthless), api.get("/v1/whoami", token=worthless)
        assert (asked.status, asked.json["code"]) == (401, known.json["code"])
        assert asked.header("WWW-Authenticate") == known.header("WWW-Authenticate")
        assert told(asked) == (None,) * 4


def test_an_inactive_user_is_401(api: Api) -> None:
    token = api.signed_in()["access_token"]
    api.deactivate(EMAIL)
    assert ask(api, token).json["code"] == "invalid_token"


def test_a_clients_token_ends_with_its_revocation_and_with_its_client(api: Api) -> None:
    client = register(api)
    revoked, other = (client.token().json["access_token"] for _ in range(2))
    client.revoke(revoked)
    assert [ask(api, token).status for token in (revoked, other)] == [401, 200]
    api.auth.clients.set_active(client.id, is_active=False)
    assert ask(api, other).json["code"] == "invalid_token"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@on_one_database
def test_a_proxy_asks_by_get(api: Api, method: str) -> None:
    answer = api.send(method, "/v1/forward-auth")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS")
