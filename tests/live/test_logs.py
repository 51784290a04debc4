"""What servers write down: one JSON object a line, one access line a request, and no secret, whatever clients send."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.api import Api
from tests.drivers import Headers
from tests.servers import CHEAP, Server, serving

PASSWORD = "canary päss/wörd+of&nobody"
REFRESHED = "another canary, päss/wörd+2"
SECRET = "canary+" + secrets.token_urlsafe(32)
JSON: Headers = [("Content-Type", "application/json")]
BASIC = "Basic " + base64.b64encode(f"canary-client:{PASSWORD}".encode()).decode()


def encodings(secret: str) -> Iterator[str]:
    """A secret as it may stand in a log: plain, escaped, and in base64 at each of its three alignments."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for lead in range(3):
        shifted = base64.b64encode(b"\0" * lead + secret.encode()).decode()
        # The characters at both ends depend on what stands beside the secret.
        middle = shifted[-(-lead * 4 // 3) : -4]
        yield middle
        yield middle.replace("+", "-").replace("/", "_")


def objects(text: str) -> list[dict[str, Any]]:
    """Every line as the object that it is; whatever any reader may take for the end of a line is one."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) and {"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    return lines


def named(request_id: str, headers: Headers | None = None) -> Headers:
    return [("X-Request-ID", request_id), *(headers or [])]


def canaries_sung(server: Server) -> tuple[list[str], list[str]]:
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


@pytest.mark.parametrize(("level", "workers"), [("INFO", 1), ("DEBUG", 2)])
def test_every_line_is_an_object_every_request_has_one_and_none_has_a_secret(
    framework: str, level: str, workers: int, tmp_path: Path
) -> None:
    settings = {"AUTH_LOG_FORMAT": "json", "AUTH_LOG_LEVEL": level, "AUTH_SECRET_KEY": SECRET, **CHEAP}
    with serving(tmp_path, framework, options=["--workers", str(workers)], **settings) as (server,):
        ids, canaries = canaries_sung(server)
    text = server.process.printed()
    lines = objects(text)
    accesses = [line["request_id"] for line in lines if line["logger"] == "access"]
    assert sorted(request for request in accesses if request.startswith("request-")) == sorted(ids)
    assert [found for canary in canaries for found in encodings(canary) if found in text] == []


# A request that the server itself cannot read never comes to the access line; what is written instead is its own.
UNREADABLE = {
    "path": b"GET /v1/canary\x7f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "header": b"GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization Bearer canary\r\nConnection: close\r\n\r\n",
    "control character": b"GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer canary\x01\r\n\r\n",
    "length": b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Length: canary\r\n\r\n",
    "chunk": b"POST /v1/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n\r\n",
}


def test_unreadable_request_is_not_written_down(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, AUTH_LOG_FORMAT="json") as (server,):
        for request in UNREADABLE.values():
            server.raw(request)
    assert [line for line in objects(server.process.printed()) if "canary" in str(line)] == []


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


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_client_can_forge_a_line(framework: str, log_format: str, tmp_path: Path) -> None:
    folder = tmp_path
    with serving(folder, framework, AUTH_LOG_FORMAT=log_format, AUTH_LOG_LEVEL="DEBUG", **CHEAP) as (server,):
        for broken in BREAKS.values():
            value = f"a{broken}{FORGERY}"
            for header in ("User-Agent", "X-Request-ID", "X-Forwarded-For"):
                server.raw(
                    f"GET /v1/whoami HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}: {value}\r\n\r\n".encode()
                )
            server.raw(f"GET /{quote(value)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            server.api.post("/v1/login", {"email": value, "password": value})
    text = server.process.printed()
    assert "\x1b" not in text
    assert not any(line.lstrip().startswith(FORGERY) for line in text.splitlines())
    if log_format == "json":
        assert not any(line["event"] == "forged" for line in objects(text))
