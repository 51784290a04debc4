"""Registered clients: client_credentials, introspection, revocation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from core.errors import NotFound
from core.throttling.model import RECORDED_REFUSALS
from tests.support.api import EMAIL, PASSWORD, Api
from tests.support.drivers import Headers
from tests.support.service_clients import ServiceClient, register
from tests.support.services import on_one_database


@pytest.fixture
def client(api: Api) -> ServiceClient:
    return register(api)


def recorded(api: Api, kind: str | None = None) -> Sequence[Any]:
    """The audit log, or what is in it of a kind."""
    with api.engine.connect() as connection:
        rows = connection.execute(select(audit_events)).all()
    return [row for row in rows if kind in (None, row.kind)]


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


class TestClientCredentials:
    def test_give_a_token_that_speaks_for_the_client(self, client: ServiceClient) -> None:
        answer = client.token(scope="orders:read")
        assert answer.status == 200
        assert answer.json.keys() == {"access_token", "token_type", "expires_in", "scope"}
        assert (answer.json["expires_in"], answer.json["scope"]) == (900, "orders:read")
        claims = claims_of(answer.json["access_token"])
        assert claims.keys() == {"iss", "aud", "iat", "exp", "jti", "sub", "client_id", "scope"}
        assert claims["sub"] == claims["client_id"] == client.id

    def test_give_every_scope_where_none_is_asked_for(self, client: ServiceClient) -> None:
        assert client.token().json["scope"] == "orders:read orders:write"

    @on_one_database
    @pytest.mark.parametrize("scope", ["admin", "orders:read admin", 'a"b', "orders:read  orders:write", "é"])
    def test_give_no_more_than_was_registered(self, client: ServiceClient, scope: str) -> None:
        answer = client.token(scope=scope)
        assert (answer.status, answer.json["error"]) == (400, "invalid_scope")

    @pytest.mark.parametrize("headers", [[], [("Authorization", "Basic Og==")]])
    def test_need_the_client_to_authenticate(self, api: Api, headers: Headers) -> None:
        answer = api.post("/v1/token", form={"grant_type": "client_credentials"}, headers=headers)
        assert (answer.status, answer.json["error"]) == (401, "invalid_client")

    def test_are_the_only_grant_of_a_registered_client(self, client: ServiceClient) -> None:
        pair = client.api.signed_in()
        for form in (
            {"grant_type": "password", "username": EMAIL, "password": PASSWORD},
            {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]},
        ):
            answer = client.api.post("/v1/token", form=form, headers=client.headers)
            assert (answer.status, answer.json["error"]) == (400, "unauthorized_client")

    def test_give_a_token_that_is_nobody_in_particular(self, client: ServiceClient) -> None:
        token = client.token().json["access_token"]
        assert client.api.whoami(token).status == 401
        assert client.api.get("/v1/sessions", token=token).status == 401


class TestAuthentication:
    """RFC 6749 section 2.3."""

    @pytest.mark.parametrize("path", ["/v1/token", "/v1/introspect", "/v1/revoke"])
    def test_by_the_form_is_as_good_as_by_basic(self, client: ServiceClient, path: str) -> None:
        form = {"grant_type": "client_credentials", "token": "any"}
        answer = client.api.post(path, form={**form, "client_id": client.id, "client_secret": client.secret})
        assert answer.status == 200
        assert client.api.post(path, form={**form, "client_id": client.id}, headers=client.headers).status == 200

    @pytest.mark.parametrize("path", ["/v1/token", "/v1/introspect", "/v1/revoke"])
    def test_in_two_ways_is_refused(self, client: ServiceClient, path: str) -> None:
        form = {"grant_type": "client_credentials", "token": "any"}
        for more in (
            {"client_id": client.id, "client_secret": client.secret},
            {"client_secret": client.secret},
            {"client_id": "twinauth"},
        ):
            answer = client.api.post(path, form=form | more, headers=client.headers)
            assert (answer.status, answer.json["error"]) == (400, "invalid_request"), more

    @on_one_database
    def test_by_a_secret_alone_is_refused(self, client: ServiceClient) -> None:
        form = {"grant_type": "client_credentials", "client_secret": client.secret}
        answer = client.api.post("/v1/token", form=form)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")

    @pytest.mark.parametrize("by_basic", [True, False])
    def test_of_the_public_client_needs_no_secret(self, api: Api, *, by_basic: bool) -> None:
        api.signup()
        form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
        public = ServiceClient(api, "twinauth", "")
        answer = (
            api.post("/v1/token", form=form, headers=public.headers)
            if by_basic
            else api.post("/v1/token", form={**form, "client_id": "twinauth"})
        )
        assert answer.status == 200
        form = {"grant_type": "refresh_token", "refresh_token": answer.json["refresh_token"], "client_id": "twinauth"}
        assert api.post("/v1/token", form=form).status == 200

    @on_one_database
    def test_of_another_client_without_its_secret_is_refused(self, client: ServiceClient) -> None:
        client.api.signup()
        form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
        for client_id in (client.id, "twc_" + "0" * 32, "twinauth2", "x"):
            for answer in (
                client.api.post("/v1/token", form={**form, "client_id": client_id}),
                client.api.post("/v1/token", form=form, headers=ServiceClient(client.api, client_id, "").headers),
            ):
                assert (answer.status, answer.json["error"]) == (401, "invalid_client"), client_id


class TestSecrets:
    @on_one_database
    @pytest.mark.parametrize("change", ["last", "checksum", "empty", "other client"])
    def test_that_are_wrong_are_refused(self, client: ServiceClient, change: str) -> None:
        secret = client.secret
        wrong = {
            "last": secret[:-1] + ("0" if secret[-1] != "0" else "1"),
            "checksum": secret[:10] + ("A" if secret[10] != "A" else "B") + secret[11:],
            "empty": "",
            "other client": register(client.api, "Other").secret,
        }[change]
        answer = ServiceClient(client.api, client.id, wrong).token()
        assert (answer.status, answer.json["error"]) == (401, "invalid_client")

    def test_of_a_disabled_client_are_refused(self, client: ServiceClient) -> None:
        client.api.auth.clients.set_active(client.id, is_active=False)
        assert client.token().status == 401
        client.api.auth.clients.set_active(client.id, is_active=True)
        assert client.token().status == 200

    def test_old_and_new_work_while_they_overlap(self, client: ServiceClient) -> None:
        new = client.api.auth.clients.rotate_secret(client.id, overlap=timedelta(hours=1))
        rotated = ServiceClient(client.api, client.id, new)
        client.api.clock.advance(minutes=59)
        assert client.token().status == rotated.token().status == 200
        client.api.clock.advance(minutes=1)
        assert client.token().status == 401
        assert rotated.token().status == 200

    @pytest.mark.parametrize("path", ["/v1/token", "/v1/introspect", "/v1/revoke"])
    def test_that_are_refused_are_recorded_with_the_client_where_there_is_one(
        self, client: ServiceClient, path: str
    ) -> None:
        form = {"grant_type": "client_credentials", "token": "any"}
        for other in (ServiceClient(client.api, client.id, "wrong"), ServiceClient(client.api, client.secret, "a\0")):
            assert client.api.post(path, form=form, headers=other.headers).status == 401
        client.api.auth.clients.set_active(client.id, is_active=False)
        assert client.api.post(path, form=form, headers=client.headers).status == 401
        refused = recorded(client.api, "client_refused")
        assert sorted(str(event.subject) for event in refused) == ["None", client.id, client.id]
        assert all(event.ip == "127.0.0.1" and event.request_id for event in refused)

    def test_with_an_id_that_no_database_stores_are_refused(self, client: ServiceClient) -> None:
        for client_id in ("\0", f"{client.id}\0", "\U0010ffff", "x" * 5000, "'"):
            assert ServiceClient(client.api, client_id, client.secret).token().status == 401
        assert {event.subject for event in recorded(client.api, "client_refused")} == {None}

    @on_one_database
    def test_that_are_right_leave_no_event_and_are_never_held_back(self, client: ServiceClient) -> None:
        for _ in range(RECORDED_REFUSALS + 5):
            assert ServiceClient(client.api, client.id, "wrong").token().status == 401
        assert len(recorded(client.api, "client_refused")) == RECORDED_REFUSALS
        assert client.token().status == 200

    def test_what_is_done_to_a_client_is_recorded(self, client: ServiceClient) -> None:
        clients = client.api.auth.clients
        clients.set_active(client.id, is_active=False)
        clients.set_active(client.id, is_active=True)
        clients.rotate_secret(client.id, overlap=timedelta(0))
        with pytest.raises(NotFound):
            clients.set_active("twc_nobody", is_active=False)
        done = [event for event in recorded(client.api) if event.subject == client.id]
        kinds = ["client_created", "client_disabled", "client_enabled", "client_secret_rotated"]
        assert sorted(event.kind for event in done) == sorted(kinds)
        assert [(event.ip, event.request_id, event.user_id) for event in done] == [("", "", None)] * 4

    def test_use_is_noted(self, client: ServiceClient) -> None:
        client.token()
        (found,) = client.api.auth.clients.all()
        assert found.last_used_at == client.api.clock.now()

    def test_use_that_a_clock_ahead_has_noted_is_noted_anew(self, client: ServiceClient) -> None:
        client.api.clock.advance(days=3650)
        client.token()
        client.api.clock.advance(days=-3649)
        client.token()
        (found,) = client.api.auth.clients.all()
        assert found.last_used_at == client.api.clock.now()


class TestIntrospection:
    def test_tells_what_an_access_token_is(self, client: ServiceClient) -> None:
        user = client.api.signup()
        token = client.api.login()["access_token"]
        claims = claims_of(token)
        assert client.introspect(token) == {
            "active": True,
            "sub": user["id"],
            "client_id": "twinauth",
            "username": EMAIL,
            "sid": claims["sid"],
            "jti": claims["jti"],
            "token_type": "Bearer",
            "iss": "http://127.0.0.1:8000",
            "aud": "http://127.0.0.1:8000",
            "auth_time": claims["auth_time"],
            "iat": claims["iat"],
            "exp": claims["exp"],
        }

    def test_tells_what_a_clients_token_is(self, client: ServiceClient) -> None:
        found = client.introspect(client.token(scope="orders:read").json["access_token"])
        assert (found["active"], found["sub"], found["scope"]) == (True, client.id, "orders:read")
        assert "sid" not in found

    def test_of_a_refresh_token_tells_nothing_and_ends_nothing(self, client: ServiceClient) -> None:
        """It opens nothing at other services: who took it for an access token would let its holder in for months."""
        pair = client.api.signed_in()
        for hint in ("refresh_token", "access_token"):
            form = {"token": pair["refresh_token"], "token_type_hint": hint}
            assert client.api.post("/v1/introspect", form=form, headers=client.headers).json == {"active": False}
        assert client.api.refresh(pair["refresh_token"]).status == 200

    def test_of_anything_else_tells_nothing(self, client: ServiceClient) -> None:
        api = client.api
        pair = api.signed_in()
        rotated = api.refresh(pair["refresh_token"]).json
        api.post("/v1/logout", token=rotated["access_token"])
        for token in ("x", "a.b.c", *pair.values(), *rotated.values()):
            assert client.introspect(str(token)) == {"active": False}

    def test_may_be_asked_by_a_clients_own_token(self, api: Api) -> None:
        """RFC 7662 section 2.1."""
        token = api.signed_in()["access_token"]
        own = register(api, "Gateway", scopes=["introspect"]).token().json["access_token"]
        found = api.post("/v1/introspect", form={"token": token}, token=own)
        assert (found.status, found.json["active"]) == (200, True)

    def test_may_not_be_asked_by_a_token_without_the_scope(self, client: ServiceClient) -> None:
        api = client.api
        user, service = api.signed_in()["access_token"], client.token().json["access_token"]
        answer = api.post("/v1/introspect", form={"token": user}, token=service)
        assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")
        assert 'error="insufficient_scope", scope="introspect"' in str(answer.header("WWW-Authenticate"))
        for token in (user, "x"):
            answer = api.post("/v1/introspect", form={"token": service}, token=token)
            assert (answer.status, answer.json["code"]) == (401, "invalid_token")

    def test_may_not_be_asked_by_the_token_of_a_disabled_client(self, api: Api) -> None:
        gateway = register(api, "Gateway", scopes=["introspect"])
        own = gateway.token().json["access_token"]
        api.auth.clients.set_active(gateway.id, is_active=False)
        assert api.post("/v1/introspect", form={"token": own}, token=own).status == 401

    @on_one_database
    @pytest.mark.parametrize("headers", [[], [("Authorization", "Basic Og==")]])
    def test_is_for_registered_clients(self, api: Api, headers: Headers) -> None:
        token = api.signed_in()["access_token"]
        answer = api.post("/v1/introspect", form={"token": token}, headers=headers)
        assert (answer.status, answer.json["error"]) == (401, "invalid_client")
        assert answer.header("WWW-Authenticate") == 'Basic realm="twinauth", charset="UTF-8"'

    def test_needs_a_token(self, client: ServiceClient) -> None:
        answer = client.api.post("/v1/introspect", form={"token": ""}, headers=client.headers)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")

    def test_of_a_disabled_clients_token_tells_nothing(self, client: ServiceClient) -> None:
        token = client.token().json["access_token"]
        other = register(client.api, "Other")
        assert other.introspect(token)["active"]
        client.api.auth.clients.set_active(client.id, is_active=False)
        assert other.introspect(token) == {"active": False}

    def test_of_a_token_from_before_its_client_was_disabled_tells_nothing_ever_again(
        self, client: ServiceClient
    ) -> None:
        token = client.token().json["access_token"]
        other = register(client.api, "Other")
        client.api.clock.advance(seconds=5)
        client.api.auth.clients.set_active(client.id, is_active=False)
        assert other.introspect(token) == {"active": False}
        client.api.clock.advance(seconds=5)
        client.api.auth.clients.set_active(client.id, is_active=True)
        assert other.introspect(token) == {"active": False}
        assert other.introspect(client.token().json["access_token"])["active"]


class TestRevocation:
    @on_one_database
    @pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
    @pytest.mark.parametrize("hint", [{}, {"token_type_hint": "access_token"}, {"token_type_hint": "nonsense"}])
    def test_of_either_token_ends_the_session(self, api: Api, kind: str, hint: dict[str, str]) -> None:
        pair, other = api.signed_in(), api.login()
        answer = api.post("/v1/revoke", form={"token": pair[kind], **hint})
        assert (answer.status, answer.body) == (200, b"")
        assert api.whoami(pair["access_token"]).status == 401
        assert api.refresh(pair["refresh_token"]).status == 401
        assert api.whoami(other["access_token"]).status == 200

    @on_one_database
    @pytest.mark.parametrize("token", ["x", "a.b.c", "twr_" + "A" * 72, "x" * 10_000])
    def test_of_what_is_no_token_has_happened_already(self, api: Api, token: str) -> None:
        assert api.post("/v1/revoke", form={"token": token}).status == 200

    def test_twice_is_once(self, api: Api) -> None:
        pair = api.signed_in()
        for _ in range(2):
            assert api.post("/v1/revoke", form={"token": pair["refresh_token"]}).status == 200

    def test_needs_a_token(self, api: Api) -> None:
        answer = api.post("/v1/revoke", form={"token_type_hint": "access_token"})
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")

    def test_of_a_clients_token_is_the_clients_alone(self, client: ServiceClient) -> None:
        token = client.token().json["access_token"]
        other = register(client.api, "Other")
        assert client.api.post("/v1/revoke", form={"token": token}).json["error"] == "invalid_client"
        assert other.revoke(token).json["error"] == "invalid_grant"
        assert client.introspect(token)["active"]
        assert client.revoke(token).status == 200
        assert [event.subject for event in recorded(client.api, "token_revoked")] == [client.id]
        assert client.introspect(token) == {"active": False}

    def test_of_a_users_token_is_not_a_clients(self, client: ServiceClient) -> None:
        pair = client.api.signed_in()
        for token in (pair["access_token"], pair["refresh_token"]):
            answer = client.revoke(token)
            assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
        assert client.api.whoami(pair["access_token"]).status == 200

    def test_refuses_a_client_that_is_not_who_it_says(self, client: ServiceClient) -> None:
        pair = client.api.signed_in()
        impostor = ServiceClient(client.api, client.id, register(client.api, "Other").secret)
        assert impostor.revoke(pair["refresh_token"]).status == 401
        assert client.api.whoami(pair["access_token"]).status == 200
