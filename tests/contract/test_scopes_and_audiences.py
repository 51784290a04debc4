"""What an access token is good for: scopes by role, one audience, and when its user logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from sqlalchemy import update

from core.settings.groups import PasswordSettings, TokenSettings
from core.users.sql import users
from tests.support.api import EMAIL, PASSWORD, Api
from tests.support.drivers import Answer
from tests.support.service_clients import register
from tests.support.services import OpenDoor
from tests.support.settings import PRODUCTION

OWN, ORDERS, BILLING = "https://auth.example.com", "https://orders.example.com", "https://billing.example.com"
SCOPES = {"*": ("orders:read", "profile"), "admin": ("orders:read", "orders:write")}

Ask = Callable[..., Answer]


@pytest.fixture
def api(door: OpenDoor) -> Api:
    tokens = TokenSettings(audiences=(OWN, ORDERS, BILLING), scopes=SCOPES)
    found = door(tokens=tokens)
    found.signup()
    return found


def log_in(api: Api, **asked: str) -> Answer:
    return api.post("/v1/login", {"email": EMAIL, "password": PASSWORD, **asked})


def grant_password(api: Api, **asked: str) -> Answer:
    return api.post("/v1/token", form={"grant_type": "password", "username": EMAIL, "password": PASSWORD, **asked})


def refresh(api: Api, token: str, **asked: str) -> Answer:
    return api.post("/v1/refresh", {"refresh_token": token, **asked})


def grant_refresh(api: Api, token: str, **asked: str) -> Answer:
    return api.post("/v1/token", form={"grant_type": "refresh_token", "refresh_token": token, **asked})


def claims_of(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    found: dict[str, Any] = jwt.decode(answer.json["access_token"], options={"verify_signature": False})
    return found


def make_admin(api: Api, *, is_admin: bool = True) -> None:
    with api.engine.begin() as connection:
        connection.execute(update(users).values(roles=["admin"] if is_admin else []))


both_logins = pytest.mark.parametrize("start", [log_in, grant_password])
both_refreshes = pytest.mark.parametrize("renew", [refresh, grant_refresh])


class TestScopes:
    @both_logins
    def test_are_those_of_everybody_and_of_the_roles(self, api: Api, start: Ask) -> None:
        answer = start(api)
        assert claims_of(answer)["scope"] == answer.json["scope"] == "orders:read profile"
        make_admin(api)
        assert claims_of(start(api))["scope"] == "orders:read profile orders:write"

    @both_logins
    def test_may_be_asked_for_in_part(self, api: Api, start: Ask) -> None:
        answer = start(api, scope="orders:write profile openid")
        assert claims_of(answer)["scope"] == answer.json["scope"] == "profile"

    @pytest.mark.parametrize("scope", ["orders:write", "openid", 'a"b', "profile  orders:read", "é"])
    def test_that_cannot_be_granted_are_refused(self, api: Api, scope: str) -> None:
        answer = log_in(api, scope=scope)
        refused = (answer.status, answer.json.get("code"))
        assert refused == ((200, None) if "profile" in scope and "  " not in scope else (400, "scope_not_granted"))
        assert grant_password(api, scope=scope).json["error"] == "invalid_scope"
        with api.auth.store.reading() as read:
            account = read.users.by_email(EMAIL)
            assert account is not None
            assert read.sessions.live_of(account.user.id, now=api.clock.now()) == []

    @both_refreshes
    def test_of_a_session_stay_through_its_refreshes(self, api: Api, renew: Ask) -> None:
        token = log_in(api, scope="profile").json["refresh_token"]
        for _ in range(2):
            answer = renew(api, token)
            assert claims_of(answer)["scope"] == "profile"
            token = answer.json["refresh_token"]

    @both_refreshes
    def test_may_be_narrowed_for_one_token_and_never_widened(self, api: Api, renew: Ask) -> None:
        token = log_in(api).json["refresh_token"]
        narrow = renew(api, token, scope="profile")
        assert claims_of(narrow)["scope"] == narrow.json["scope"] == "profile"
        token = narrow.json["refresh_token"]
        wider = renew(api, token, scope="profile orders:write")
        assert wider.status == 400
        assert wider.json.get("code", wider.json.get("error")) in ("scope_not_granted", "invalid_scope")
        assert claims_of(renew(api, token))["scope"] == "orders:read profile", "the refused one did not use it up"

    def test_of_a_role_go_with_the_role(self, api: Api) -> None:
        make_admin(api)
        all_of_them, some = log_in(api), log_in(api, scope="orders:write profile")
        make_admin(api, is_admin=False)
        assert claims_of(refresh(api, all_of_them.json["refresh_token"]))["scope"] == "orders:read profile"
        assert claims_of(refresh(api, some.json["refresh_token"]))["scope"] == "profile"

    def test_are_in_the_metadata_and_nowhere_where_there_are_none(self, api: Api, door: OpenDoor) -> None:
        path = "/.well-known/oauth-authorization-server"
        assert api.get(path).json["scopes_supported"] == ["orders:read", "orders:write", "profile"]
        plain = door()
        assert "scopes_supported" not in plain.get(path).json
        answer = log_in(plain)
        assert "scope" not in answer.json
        assert not claims_of(answer).keys() & {"scope", "roles"}


class TestAudiences:
    @both_logins
    def test_are_one_for_each_token_the_first_by_default(self, api: Api, start: Ask) -> None:
        assert claims_of(start(api))["aud"] == OWN
        assert claims_of(start(api, resource=ORDERS))["aud"] == ORDERS

    def test_that_are_unknown_are_refused(self, api: Api) -> None:
        for resource in ("https://else.example.com", OWN + "/", "x"):
            answer = log_in(api, resource=resource)
            assert (answer.status, answer.json["code"]) == (400, "unknown_audience")
            assert grant_password(api, resource=resource).json["error"] == "invalid_target"

    @both_refreshes
    def test_stay_through_a_refresh_which_may_choose_another(self, api: Api, renew: Ask) -> None:
        pair = log_in(api, resource=ORDERS).json
        again = renew(api, pair["refresh_token"])
        assert claims_of(again)["aud"] == ORDERS
        assert claims_of(renew(api, again.json["refresh_token"], resource=BILLING))["aud"] == BILLING

    def test_of_others_open_no_door_here(self, api: Api) -> None:
        """A token that was shown to another service is no key to the account."""
        token = log_in(api, resource=ORDERS).json["access_token"]
        assert api.whoami(token).json["code"] == "invalid_token"
        assert api.post("/v1/logout", token=token).status == 401

    def test_of_others_are_introspected_and_revoked(self, api: Api) -> None:
        token = log_in(api, resource=ORDERS).json["access_token"]
        client = register(api)
        assert client.introspect(token)["aud"] == ORDERS
        assert api.post("/v1/revoke", form={"token": token}).status == 200
        assert client.introspect(token) == {"active": False}

    def test_of_a_client_are_its_own(self, api: Api) -> None:
        client = register(api, audiences=[BILLING, ORDERS])
        assert claims_of(client.token())["aud"] == BILLING
        assert claims_of(client.token(resource=ORDERS))["aud"] == ORDERS
        assert client.token(resource=OWN).json["error"] == "invalid_target"
        assert claims_of(register(api, "Other").token(resource=OWN))["aud"] == OWN


class TestTheTimeOfTheLogin:
    @both_refreshes
    def test_stays_through_refreshes(self, api: Api, renew: Ask) -> None:
        """RFC 9068 section 2.2.1."""
        answer = log_in(api)
        first = claims_of(answer)
        assert (first["auth_time"], first["amr"]) == (first["iat"], ["pwd"])
        api.clock.advance(minutes=20)
        later = claims_of(renew(api, answer.json["refresh_token"]))
        assert (later["auth_time"], later["amr"]) == (first["auth_time"], ["pwd"])
        assert later["iat"] == first["iat"] + 1200


def test_the_password_grant_can_be_switched_off(door: OpenDoor) -> None:
    api = door(passwords=PasswordSettings(bcrypt_cost=4, grant=False))
    api.signup()
    answer = grant_password(api)
    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")
    assert "AUTH_PASSWORD_GRANT" in answer.json["error_description"]
    pair = log_in(api).json
    assert grant_refresh(api, pair["refresh_token"]).status == 200


def test_the_password_grant_is_off_in_production(door: OpenDoor) -> None:
    api = door(**PRODUCTION)
    assert grant_password(api).json["error"] == "unsupported_grant_type"
