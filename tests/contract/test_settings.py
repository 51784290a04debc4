"""What settings change of the contract: HTTPS, CORS, proxies, pages, algorithms, links."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from api_fastapi.app import create_app
from core.settings.groups import HttpSettings, MailSettings, TokenSettings
from core.sql_store import SqlStore
from tests.support.api import Api
from tests.support.databases import empty
from tests.support.drivers import AsgiDriver
from tests.support.mail import link_of
from tests.support.services import FRAMEWORKS, OpenDoor, open_service
from tests.support.settings import PRODUCTION


def test_hsts_is_sent_when_the_public_url_is_https(door: OpenDoor) -> None:
    api = door(http=HttpSettings(public_url="https://auth.example.com"))
    assert api.get("/healthz").header("Strict-Transport-Security") == "max-age=31536000; includeSubDomains"
    assert api.get("/.well-known/oauth-authorization-server").json["issuer"] == "https://auth.example.com"


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/nowhere", 404), ("/reset-password", 200)])
def test_who_answered_is_named_where_that_is_switched_on(
    request: pytest.FixtureRequest, door: OpenDoor, path: str, status: int
) -> None:
    answer = door(http=HttpSettings(served_by=True)).get(path)
    assert answer.status == status
    assert answer.header("X-Served-By") == request.node.callspec.params["door"]
    assert door().get(path).header("X-Served-By") is None


def test_without_the_assets_of_its_pages_there_is_no_documentation_to_read(
    door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `pip install twinauth` leaves it, without the extra `docs`: half a page would be a blank one."""
    monkeypatch.setitem(sys.modules, "fastapi_offline", None)
    api = door()
    for path in ("/docs", "/redoc", "/assets/swagger-ui.css", "/assets/redoc.css"):
        assert api.get(path).status == 404, path
    assert api.get("/openapi.json").status == 200


def test_no_origin_is_allowed_by_default(door: OpenDoor) -> None:
    answer = door().get("/healthz", headers=[("Origin", "https://app.example.com")])
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
    assert answer.header("Vary") is None


ORIGIN = "https://app.example.com"
CORS = {"http": HttpSettings(cors_origins=(ORIGIN,))}
PREFLIGHT = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")]


def test_a_listed_origin_may_read_the_answer(door: OpenDoor) -> None:
    answer = door(**CORS).get("/nope", headers=[("Origin", ORIGIN)])
    assert answer.header("Access-Control-Allow-Origin") == ORIGIN
    assert answer.header("Access-Control-Allow-Credentials") == "true"
    assert answer.header("Access-Control-Expose-Headers") == "ETag, Retry-After, WWW-Authenticate, X-Request-ID"
    assert answer.header("Vary") == "Origin"


@pytest.mark.parametrize(
    "fields",
    [
        "content-type",
        "authorization,content-type",
        "baggage, sentry-trace, traceparent, tracestate",
        "x-datadog-origin,x-datadog-trace-id",
        "cache-control,if-none-match,x-request-id,x-requested-with",
    ],
)
def test_a_listed_origin_may_send_the_fields_that_it_asks_for(door: OpenDoor, fields: str) -> None:
    """A tracer adds its own to every call of a page, and a field that is refused fails them all."""
    headers = [
        ("Origin", ORIGIN),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", fields),
    ]
    answer = door(**CORS).send("OPTIONS", "/v1/login", headers=headers)
    assert answer.status == 204
    assert answer.header("Access-Control-Allow-Origin") == ORIGIN
    assert answer.header("Access-Control-Allow-Credentials") == "true"
    assert answer.header("Access-Control-Allow-Methods") == "OPTIONS, POST"
    assert answer.header("Access-Control-Allow-Headers") == fields
    assert answer.header("Access-Control-Max-Age") == "600"


@pytest.mark.parametrize("fields", [None, "", "a b", "a,,b", "<script>", "x" * 10 + ":"])
def test_what_names_no_fields_is_not_echoed(door: OpenDoor, fields: str | None) -> None:
    asked = [] if fields is None else [("Access-Control-Request-Headers", fields)]
    answer = door(**CORS).send("OPTIONS", "/v1/login", headers=[("Origin", ORIGIN), PREFLIGHT[0], *asked])
    assert (answer.status, answer.header("Access-Control-Allow-Headers")) == (204, None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/nope", "GET"),
        ("DELETE", "//v1/nope", "DELETE"),
        ("PUT", "/v1/login", "OPTIONS, POST, PUT"),
        ("BREW", "/v1/login", "OPTIONS, POST"),
    ],
)
def test_a_page_can_read_that_there_is_no_such_path_or_method(
    door: OpenDoor, method: str, path: str, allowed: str
) -> None:
    api = door(**CORS)
    answer = api.send("OPTIONS", path, headers=[("Origin", ORIGIN), ("Access-Control-Request-Method", method)])
    assert (answer.status, answer.header("Access-Control-Allow-Methods")) == (204, allowed)
    assert answer.header("Access-Control-Allow-Origin") == ORIGIN
    assert api.send("OPTIONS", path, headers=[("Origin", ORIGIN)]).status == (204 if path == "/v1/login" else 404)


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://5f2c9a1e-4b7d-4c0f-8a3e-6d1b9c2f7a40",
        "safari-web-extension://E8BEA491-9B80-45DB-8B20-3E586473BD47",
    ],
)
def test_an_application_in_a_shell_is_an_origin_too(door: OpenDoor, origin: str) -> None:
    answer = door(http=HttpSettings(cors_origins=origin)).get("/nope", headers=[("Origin", origin)])
    assert answer.header("Access-Control-Allow-Origin") == origin


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", "https://app.example.com.evil.org", "http://app.example.com", "*"]
)
def test_no_other_origin_is_reflected(door: OpenDoor, origin: str) -> None:
    answer = door(**CORS).send("OPTIONS", "/v1/login", headers=[("Origin", origin), *PREFLIGHT])
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
    assert answer.header("Vary") == "Origin"


def ip_of(api: Api, forwarded_for: str) -> str:
    body = {"email": "ann@example.com", "password": "correct horse battery"}
    api.post("/v1/signup", body)
    pair = api.post("/v1/login", body, headers=[("X-Forwarded-For", forwarded_for)]).json
    items = api.get("/v1/sessions", token=pair["access_token"]).json["items"]
    ip: str = next(item["ip"] for item in items if item["current"])
    return ip


def test_forwarded_for_is_not_believed_without_a_trusted_proxy(door: OpenDoor) -> None:
    assert ip_of(door(), "203.0.113.9") == "127.0.0.1"


def test_forwarded_for_is_read_from_the_right_behind_a_trusted_proxy(door: OpenDoor) -> None:
    api = door(http=HttpSettings(trusted_proxies=("127.0.0.0/8",)))
    assert ip_of(api, "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert ip_of(api, "203.0.113.7:51234") == "203.0.113.7"
    assert ip_of(api, "[2001:db8::1]:4711") == "2001:db8::1"


def test_a_client_that_has_sent_its_request_and_gone_is_no_proxy(
    stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop
) -> None:
    """uvicorn finds no address of it then, as of the peer of a Unix socket, which is believed."""
    store = stores("sqlite")
    service = open_service(store, loop)
    door = create_app(service.auth)

    def at(server: tuple[str, int | None]) -> Api:
        async def run(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await door({**scope, "client": None, "server": server}, receive, send)

        return replace(service.api("fastapi"), driver=AsgiDriver(run, loop))

    assert ip_of(at(("127.0.0.1", 8000)), "203.0.113.9") == ""
    assert ip_of(at(("/run/twinauth.sock", None)), "203.0.113.9") == "203.0.113.9"
    empty(store)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/assets/swagger-ui.css"])
@pytest.mark.parametrize(
    "mail", [MailSettings(smtp_url=SecretStr("smtps://mail.example.com")), MailSettings(relay=False)]
)
def test_the_pages_are_off_in_production_unless_switched_on(door: OpenDoor, path: str, mail: MailSettings) -> None:
    production = PRODUCTION | {"mail": mail}
    assert door(**production).get(path).status == 404
    shown = HttpSettings(public_url="https://auth.example.com", docs=True)
    assert door(**production | {"http": shown}).get(path).status == 200


@pytest.mark.parametrize(
    ("given", "base", "sender"),
    [
        ({}, "http://127.0.0.1:8000", "Twinauth <no-reply@localhost>"),
        (
            {"public_url": "https://auth.example.com"},
            "https://auth.example.com",
            "Twinauth <no-reply@auth.example.com>",
        ),
        (
            {"public_url": "https://example.com:8443/auth/"},
            "https://example.com:8443/auth",
            "Twinauth <no-reply@example.com>",
        ),
    ],
)
def test_links_and_the_sender_come_from_the_public_url(
    door: OpenDoor, given: dict[str, Any], base: str, sender: str
) -> None:
    api = door(http=HttpSettings(**given))
    api.signup()
    verification = api.letter("email_verification")
    assert link_of(verification).startswith(f"{base}/verify-email#token=twm_")
    assert verification["From"] == sender
    api.ask_for_reset()
    assert link_of(api.letter("password_reset")).startswith(f"{base}/reset-password#token=twm_")


def test_the_sender_is_a_setting(door: OpenDoor) -> None:
    api = door(mail=MailSettings(mail_from="Example GmbH <hello@example.com>"))
    api.signup()
    assert api.letter("email_verification")["From"] == "Example GmbH <hello@example.com>"


def test_the_language_of_mail_to_the_others_is_a_setting(door: OpenDoor) -> None:
    api = door(mail=MailSettings(mail_language="de"))
    api.signup()
    assert api.letter("email_verification")["Content-Language"] == "de"


@pytest.mark.parametrize(("seconds", "status"), [(59.999, 204), (60, 400)])
def test_the_lifetimes_of_links_are_settings(door: OpenDoor, seconds: float, status: int) -> None:
    api = door(mail=MailSettings(reset_ttl=timedelta(minutes=1), verification_ttl=timedelta(minutes=1)))
    api.signup()
    verification, reset = api.verification_token(), api.reset_token()
    api.clock.advance(seconds=seconds)
    assert api.reset(reset).status == status
    if status == 400:
        assert api.verify(verification).status == 400


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_algorithm_signs_in_refreshes_and_ends(
    framework: str, algorithm: str, new_store: Callable[[], SqlStore], loop: asyncio.AbstractEventLoop
) -> None:
    api = open_service(new_store(), loop, tokens=TokenSettings(algorithm=algorithm)).api(framework)
    pair = api.signed_in()
    assert jwt.get_unverified_header(pair["access_token"])["alg"] == algorithm
    assert api.get("/.well-known/jwks.json").json["keys"][0]["alg"] == algorithm
    pair = api.refresh(pair["refresh_token"]).json
    assert api.post("/v1/logout", token=pair["access_token"]).status == 204
    assert api.whoami(pair["access_token"]).status == 401
