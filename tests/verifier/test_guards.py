"""The guards of Flask and FastAPI: one question, one answer, byte for byte."""

import asyncio
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
import twinauth_verify.fastapi
import twinauth_verify.flask
from fastapi import Depends, FastAPI, HTTPException, Response
from flask import Flask, g
from twinauth_verify import AccessToken, AsyncVerifier, InsufficientScope, Verifier
from twinauth_verify.testing import TokenMinter

from tests.support.drivers import Answer, AsgiDriver, Driver, Headers, WsgiDriver

REALM = "https://orders.example.com"
NEEDS = {
    "/any": {},
    "/read": {"scope": "orders:read"},
    "/both": {"scope": ["orders:write", "orders:read"]},
    "/admin": {"role": "admin"},
    "/all": {"scope": "orders:read", "role": ("admin", "auditor")},
    "/recent": {"max_age": 300},
}


class TestGuardTwins:
    def test_have_the_same_names_in_the_same_order(self) -> None:
        flask, fastapi = twinauth_verify.flask.TokenGuard, twinauth_verify.fastapi.TokenGuard
        assert [*vars(flask)] == [*vars(fastapi)]
        assert flask.__doc__ == fastapi.__doc__

    @pytest.mark.parametrize("needs", [{"scope": "a b"}, {"scope": ""}, {"scope": ['"']}, {"role": ""}, {"role": [""]}])
    def test_refuse_what_no_token_can_have(self, minter: TokenMinter, needs: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="not a scope or a role"):
            twinauth_verify.flask.TokenGuard(minter.verifier()).require(**needs)
        with pytest.raises(ValueError, match="not a scope or a role"):
            twinauth_verify.fastapi.TokenGuard(minter.async_verifier()).require(**needs)
        with pytest.raises(ValueError, match="max_age"):
            twinauth_verify.flask.TokenGuard(minter.verifier()).require(max_age=0)


def said(token: AccessToken) -> bytes:
    return json.dumps([token.subject, sorted(token.scopes), sorted(token.roles)]).encode()


def flask_app(verifier: Verifier, *, install: bool = True) -> Flask:
    app = Flask("orders")
    guard = twinauth_verify.flask.TokenGuard(verifier)
    if install:
        guard.install(app)

    def view() -> Any:
        return app.response_class(said(g.access_token), mimetype="application/json")

    for path, needs in NEEDS.items():
        app.add_url_rule(path, path, guard.require(**needs)(view))  # type: ignore[arg-type]

    @app.get("/own")
    def own() -> Any:
        raise InsufficientScope(["orders:own"])

    return app


def fastapi_app(verifier: AsyncVerifier, *, install: bool = True) -> FastAPI:
    app = FastAPI()
    guard = twinauth_verify.fastapi.TokenGuard(verifier)
    if install:
        guard.install(app)

    for path, needs in NEEDS.items():
        require = guard.require(**needs)  # type: ignore[arg-type]

        @app.get(path)
        async def route(token: Annotated[AccessToken, Depends(require)]) -> Response:
            return Response(said(token), media_type="application/json")

    @app.get("/own")
    async def own() -> Any:
        raise InsufficientScope(["orders:own"])

    return app


@dataclass
class Twins:
    """Both services; what one answers the other must answer too."""

    flask: Driver
    fastapi: Driver

    def get(self, path: str, *authorization: str) -> Answer:
        headers: Headers = [("Authorization", value) for value in authorization]
        one, other = (twin.send("GET", path, headers, b"") for twin in (self.flask, self.fastapi))
        assert (one.status, normal(one), one.body) == (other.status, normal(other), other.body)
        return one


def normal(answer: Answer) -> Headers:
    return sorted((name.lower(), value) for name, value in answer.headers)


@pytest.fixture
def minter() -> TokenMinter:
    return TokenMinter(audience=REALM)


@pytest.fixture
def twins(minter: TokenMinter, loop: asyncio.AbstractEventLoop) -> Twins:
    return Twins(WsgiDriver(flask_app(minter.verifier())), AsgiDriver(fastapi_app(minter.async_verifier()), loop))


class TestGuardedServices:
    def test_let_a_good_token_in(self, twins: Twins, minter: TokenMinter) -> None:
        token = minter.mint(subject="ann", scopes=["orders:write", "orders:read"], roles=["admin", "auditor"])
        for path in NEEDS:
            for scheme in ("Bearer", "bearer", "BEARER"):
                answer = twins.get(path, f"{scheme} {token}")
                assert answer.status == 200
                assert answer.json == ["ann", ["orders:read", "orders:write"], ["admin", "auditor"]]

    @pytest.mark.parametrize("authorization", [(), ("",), ("Basic YTpi",), ("Bear x",), ("x",), ("Bearer\tx",)])
    def test_ask_for_a_token_where_there_is_none(self, twins: Twins, authorization: tuple[str, ...]) -> None:
        answer = twins.get("/read", *authorization)
        assert answer.status == 401
        assert answer.header("WWW-Authenticate") == f'Bearer realm="{REALM}"'
        assert answer.json["code"] == "missing_credentials"

    @pytest.mark.parametrize(
        "token", ["", "x", "a.b.c", "x y", "caf\u00e9", '"x"', "x;y", "=", "A" * 9000, "\x00", "x=y"]
    )
    def test_refuse_a_bad_token(self, twins: Twins, token: str) -> None:
        answer = twins.get("/read", f"Bearer {token}")
        assert answer.status == 401
        assert answer.header("WWW-Authenticate") == f'Bearer realm="{REALM}", error="invalid_token"'
        assert answer.header("Content-Type") == "application/problem+json"
        assert answer.header("Cache-Control") == "no-store"
        assert answer.json == {
            "type": "about:blank",
            "title": "Unauthorized",
            "status": 401,
            "detail": "The access token is malformed, expired, or its session has ended.",
            "code": "invalid_token",
        }

    @pytest.mark.parametrize(
        ("path", "scope"),
        [
            ("/read", ', scope="orders:read"'),
            ("/both", ', scope="orders:read orders:write"'),
            ("/admin", ""),
            ("/all", ', scope="orders:read"'),
        ],
    )
    @pytest.mark.parametrize("has", [{}, {"scopes": ["orders:rea", "orders:write"]}, {"roles": ["auditor", "ADMIN"]}])
    def test_tell_what_a_good_token_lacks(
        self, twins: Twins, minter: TokenMinter, path: str, scope: str, has: dict[str, Any]
    ) -> None:
        answer = twins.get(path, f"Bearer {minter.mint(**has)}")
        assert answer.status == 403
        expected = f'Bearer realm="{REALM}", error="insufficient_scope"{scope}'
        assert answer.header("WWW-Authenticate") == expected
        assert answer.json["code"] == "insufficient_scope"

    def test_ask_for_a_login_that_is_not_too_old(self, twins: Twins, minter: TokenMinter) -> None:
        """RFC 9470."""
        now = int(time.time())
        for auth_time, status in ((now - 290, 200), (now - 310, 401), (None, 401)):
            answer = twins.get("/recent", f"Bearer {minter.mint(auth_time=auth_time)}")
            assert answer.status == status, auth_time
        assert answer.json["code"] == "insufficient_user_authentication"
        assert answer.header("WWW-Authenticate") == (
            f'Bearer realm="{REALM}", error="insufficient_user_authentication", max_age="300"'
        )

    def test_refuse_two_authorization_headers(self, twins: Twins, minter: TokenMinter) -> None:
        good = f"Bearer {minter.mint(scopes=['orders:read'])}"
        for authorization in ((good, good), (good, "Basic YTpi"), ("Basic YTpi", good), (good, ""), (f"{good}, x",)):
            answer = twins.get("/read", *authorization)
            assert answer.status == 400
            assert answer.header("WWW-Authenticate") == f'Bearer realm="{REALM}", error="invalid_request"'
            assert answer.json["code"] == "invalid_request"

    def test_refuse_what_was_revoked(self, twins: Twins, minter: TokenMinter) -> None:
        token = minter.mint(sid="a session")
        assert twins.get("/any", f"Bearer {token}").status == 200
        minter.revoke_session("a session")
        assert twins.get("/any", f"Bearer {token}").status == 401

    def test_say_when_to_come_back_if_nothing_can_be_verified(
        self, minter: TokenMinter, loop: asyncio.AbstractEventLoop
    ) -> None:
        settings: Any = {"issuer": "https://issuer.test", "audience": REALM, "follow_revocations": False}
        settings["transport"] = httpx.MockTransport(lambda _: httpx.Response(503))
        twins = Twins(
            WsgiDriver(flask_app(Verifier(**settings))), AsgiDriver(fastapi_app(AsyncVerifier(**settings)), loop)
        )
        answer = twins.get("/any", f"Bearer {minter.mint()}")
        assert (answer.status, answer.header("Retry-After")) == (503, "1")
        assert answer.header("WWW-Authenticate") is None
        assert answer.json["code"] == "verifier_unavailable"
        assert twins.get("/any").status == 401

    def test_answer_what_a_view_refuses_by_itself(self, twins: Twins) -> None:
        answer = twins.get("/own")
        assert answer.status == 403
        assert (
            answer.header("WWW-Authenticate")
            == f'Bearer realm="{REALM}", error="insufficient_scope", scope="orders:own"'
        )

    def test_are_not_changed_by_the_error_handlers_of_the_application(
        self, minter: TokenMinter, loop: asyncio.AbstractEventLoop
    ) -> None:
        flask, fastapi = flask_app(minter.verifier()), fastapi_app(minter.async_verifier())
        flask.register_error_handler(Exception, lambda _: ("mine", 418))
        fastapi.add_exception_handler(HTTPException, lambda *_: Response("mine", 418))
        assert Twins(WsgiDriver(flask), AsgiDriver(fastapi, loop)).get("/any").status == 401

    def test_answer_with_the_same_head_where_nothing_is_installed(
        self, twins: Twins, minter: TokenMinter, loop: asyncio.AbstractEventLoop
    ) -> None:
        expected = twins.get("/read", "Bearer x")
        flask = WsgiDriver(flask_app(minter.verifier(), install=False))
        fastapi = AsgiDriver(fastapi_app(minter.async_verifier(), install=False), loop)
        for twin in (flask, fastapi):
            answer = twin.send("GET", "/read", [("Authorization", "Bearer x")], b"")
            assert answer.status == 401
            for name in ("WWW-Authenticate", "Content-Type", "Cache-Control"):
                assert answer.header(name) == expected.header(name)
            assert answer.json["detail"] == expected.json["detail"]


def test_a_flask_view_keeps_its_name_and_its_arguments(minter: TokenMinter) -> None:
    app = Flask("orders")
    guard = twinauth_verify.flask.TokenGuard(minter.verifier())

    @app.get("/orders/<int:number>")
    @guard.require()
    def order(number: int) -> str:
        """One order."""
        return f"{g.access_token.subject} {number}"

    assert (order.__name__, order.__doc__) == ("order", "One order.")
    headers = {"Authorization": f"Bearer {minter.mint(subject='ann')}"}
    assert app.test_client().get("/orders/7", headers=headers).text == "ann 7"


def test_the_openapi_document_of_fastapi_names_the_bearer_scheme(minter: TokenMinter) -> None:
    document = fastapi_app(minter.async_verifier()).openapi()
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert document["components"]["securitySchemes"] == {"bearer": scheme}
    assert document["paths"]["/read"]["get"]["security"] == [{"bearer": []}]
    assert "security" not in document["paths"]["/own"]["get"]
    assert "parameters" not in document["paths"]["/read"]["get"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_leaves_no_lock_held(minter: TokenMinter) -> None:
    """gunicorn forks its workers from a process in which a thread may hold any of them."""
    verifier = minter.verifier()
    token = minter.mint()
    holders = (verifier, verifier.validator.revocations, verifier.validator._verified)
    for holder in holders:
        for name, lock in vars(holder).items():
            if isinstance(lock, type(threading.Lock())):
                assert lock.acquire(), name
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if verifier.verify(token).subject == "user" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
