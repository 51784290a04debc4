"""What servers write down: one JSON object a line, one access line a request, and no secret, whatever clients send."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api import Api
from tests.support.drivers import Headers
from tests.support.log_lines import objects
from tests.support.mail import MailServer
from tests.support.servers import CHEAP, Server, serving
from tests.support.spellings import spellings

PASSWORD = "canary päss/wörd+of&nobody"
REFRESHED = "another canary, päss/wörd+2"
SECRET = "canary+" + secrets.token_urlsafe(32)
JSON: Headers = [("Content-Type", "application/json")]
BASIC = "Basic " + base64.b64encode(f"canary-client:{PASSWORD}".encode()).decode()


def named(request_id: str, headers: Headers | None = None) -> Headers:
    return [("X-Request-ID", request_id), *(headers or [])]


def secrets_sent(server: Server) -> tuple[list[str], list[str]]:
    """Send every secret wherever a client may put it: the request ids, and what must not be written down."""
    api, email = server.api, f"canary.{secrets.token_hex(4)}@example.com"
    credentials = {"email": email, "password": PASSWORD}
    ids = [f"request-{number}" for number in range(14)]
    name = iter(ids)

    def ask(api: Api, method: str, target: str, headers: Headers | None = None, **more: Any) -> Any:
        return api.send(method, target, headers=named(next(name), headers), **more)

    ask(api, "POST", "/v1/signup", json=credentials)
    ask(api, "POST", "/v1/signup", json=credentials)
    tokens = ask(api, "POST", "/v1/login", json=credentials).json
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    ask(api, "POST", "/v1/login", json={**credentials, "password": REFRESHED})
    ask(api, "POST", "/v1/token", form={"grant_type": "password", "username": email, "password": PASSWORD})
    ask(api, "POST", "/v1/token", form={"grant_type": "password"}, headers=[("Authorization", BASIC)])
    ask(api, "GET", "/v1/whoami", token=access)
    ask(api, "GET", f"/v1/whoami?access_token={access}")
    ask(api, "GET", f"/v1/{refresh}/{quote(email)}")
    ask(api, "POST", "/v1/login", content=f'{{"email": "{email}", "password": {PASSWORD}'.encode(), headers=JSON)
    ask(api, "POST", "/v1/account/password", token=access, json={"current_password": PASSWORD, "new_password": email})
    ask(api, "GET", "/v1/whoami", headers=[("Authorization", f"Bearer {access}"), ("Authorization", BASIC)])
    new = ask(api, "POST", "/v1/refresh", json={"refresh_token": refresh}).json
    ask(api, "POST", "/v1/logout", token=new["access_token"])
    tokens_seen = [access, refresh, new["access_token"], new["refresh_token"]]
    return ids, [PASSWORD, REFRESHED, SECRET, email, *tokens_seen, access.rpartition(".")[2]]


# A request that the server itself cannot read never comes to the access line; what is written instead is its own.
UNREADABLE = {
    "path": b"GET /v1/heron\x7f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "header": b"GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization Bearer heron\r\nConnection: close\r\n\r\n",
    "control character": b"GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer heron\x01\r\n\r\n",
    "length": b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: heron\r\n\r\n",
    "chunk": b"POST /v1/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nheron\r\n\r\n",
}
FORGERY = '{"event": "forged", "level": "info", "logger": "access", "timestamp": ""}'
BREAKS = {
    "escaped": "\\r\\n",
    "percent": "%0d%0a",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "tab": "\t",
    "CR": "\r",
    "LF": "\n",
    "CR LF and a header": "\r\nX-Forged: ",
    "vertical tab": "\v",
    "form feed": "\f",
    "file separator": "\x1c",
    "red": "\x1b[31m",
    "back to the start": "\x1b[2K\x1b[1G",
    "NUL": "\0",
}


def lines_forged(server: Server) -> None:
    """Send what would begin a line of its own, were it written down as it is."""
    for broken in BREAKS.values():
        value = f"a{broken}{FORGERY}"
        for header in ("User-Agent", "X-Request-ID", "X-Forwarded-For"):
            server.raw(f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}: {value}\r\n\r\n".encode())
        server.raw(f"GET /{quote(value)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        server.api.post("/v1/login", {"email": value, "password": value})


@dataclass(frozen=True)
class Written:
    """What a door wrote down, and what it was asked."""

    log_format: str
    text: str
    ids: list[str]
    canaries: list[str]


# How a line is made is the core's; each door writes it in both formats, at the usual level and at the loudest one.
WAYS = [("fastapi", "json", "INFO", 1), ("flask", "json", "DEBUG", 2), ("fastapi", "console", "DEBUG", 1)]


@pytest.fixture(scope="module", params=WAYS, ids=str)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """All that a door wrote until its end; without a mail server, it would show the mail in its log."""
    framework, log_format, level, workers = request.param
    settings = {"AUTH_LOG_FORMAT": log_format, "AUTH_LOG_LEVEL": level, "AUTH_SECRET_KEY": SECRET, **CHEAP}
    options = ["--workers", str(workers)]
    folder = tmp_path_factory.mktemp("logs")
    with MailServer() as mail:
        with serving(folder, framework, options=options, AUTH_SMTP_URL=mail.url, **settings) as (server,):
            ids, canaries = secrets_sent(server)
            for unreadable in UNREADABLE.values():
                server.raw(unreadable)
            lines_forged(server)
        yield Written(log_format, server.process.printed(), ids, canaries)


def test_every_line_is_an_object_and_every_request_has_one(written: Written) -> None:
    if written.log_format != "json":
        assert len(written.text.splitlines()) > len(written.ids)
        return
    accesses = [line["request_id"] for line in objects(written.text) if line["logger"] == "access"]
    assert sorted(request for request in accesses if request.startswith("request-")) == sorted(written.ids)


def test_no_line_has_a_secret(written: Written) -> None:
    assert [found for canary in written.canaries for found in spellings(canary) if found in written.text] == []


def test_unreadable_request_is_not_written_down(written: Written) -> None:
    assert [line for line in written.text.splitlines() if "heron" in line] == []


def test_no_client_can_forge_a_line(written: Written) -> None:
    assert "\x1b" not in written.text
    assert not any(line.lstrip().startswith(FORGERY) for line in written.text.splitlines())
    if written.log_format == "json":
        assert not any(line["event"] == "forged" for line in objects(written.text))
