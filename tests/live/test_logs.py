"""What servers write down: one JSON object a line, one access line a request, and no secret, whatever clients send."""

from __future__ import annotations

import base64
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.live.smtp_faults import SMTP_PASSWORD, PickyServer, known_user, smtp_url
from tests.support.api import Api
from tests.support.drivers import Headers
from tests.support.mail import MailServer, token_of
from tests.support.servers import CHEAP, FRAMEWORKS, Process, Server, eventually, running, serving

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
    # Without a mail server, development shows the mail in the log, which is what it is there for.
    with (
        MailServer() as mail,
        serving(tmp_path, framework, options=["--workers", str(workers)], AUTH_SMTP_URL=mail.url, **settings) as (
            server,
        ),
    ):
        ids, canaries = canaries_sung(server)
    text = server.process.printed()
    lines = objects(text)
    accesses = [line["request_id"] for line in lines if line["logger"] == "access"]
    assert sorted(request for request in accesses if request.startswith("request-")) == sorted(ids)
    assert [found for canary in canaries for found in encodings(canary) if found in text] == []


def mail_caused(door: Server, mail: PickyServer, email: str) -> list[str]:
    """Have every kind of mail sent by a door, and use each token; what must not be written down."""
    api, new = door.api, f"new.{email}"
    told = [email, new, PASSWORD, REFRESHED]

    def token_in(kind: str, address: str) -> str:
        told.append(token_of(mail.wait_for_kind(kind, address)))
        return told[-1]

    credentials = {"email": email, "password": PASSWORD}
    assert api.post("/v1/signup", credentials).status == 201
    assert api.post("/v1/verify-email", {"token": token_in("email_verification", email)}).status == 204
    assert api.post("/v1/signup", credentials).status == 409
    mail.wait_for_kind("signup_attempted", email)
    assert api.post("/v1/send-password-reset", {"email": email}).status == 202
    reset = {"token": token_in("password_reset", email), "new_password": REFRESHED}
    assert api.post("/v1/reset-password", reset).status == 204
    assert api.post("/v1/reset-password", reset).status == 400
    assert api.get(f"/reset-password?token={reset['token']}").status == 200
    mail.wait_for_kind("password_changed", email)
    access = api.login(email, REFRESHED)["access_token"]
    change = {"new_email": new, "current_password": REFRESHED}
    assert api.post("/v1/account/email", change, token=access).status == 202
    assert api.post("/v1/verify-email", {"token": token_in("email_change", new)}).status == 204
    for kind in ("email_change_requested", "email_changed"):
        mail.wait_for_kind(kind, email)
    return told


def failures_caused(doors: Iterable[Server], mail: PickyServer) -> list[str]:
    """Have mail refused by a server that says to whom; each the address and the whole reply."""
    told = []
    for number, door in enumerate(doors):
        for code in ("450", "550"):
            email = f"refused.{code}.{number}@example.com"
            mail.refused[email] = f"{code} 5.1.1 <{email}> is nobody that we know"
            door.api.signup(email)
            told += [email, "is nobody that we know"]
    return told


@pytest.mark.parametrize("by", ["doors", "relay"])
def test_mail_leaves_no_token_no_address_and_no_password_in_any_log(by: str, tmp_path: Path) -> None:
    """Nor does mail that is refused in the words of a server that names the recipient."""
    settings = {"AUTH_LOG_FORMAT": "json", "AUTH_LOG_LEVEL": "DEBUG", "AUTH_SECRET_KEY": SECRET, **CHEAP}
    with PickyServer(authenticator=known_user, auth_require_tls=False) as mail, ExitStack() as stack:
        settings |= {"AUTH_SMTP_URL": smtp_url("smtp", mail.port), "AUTH_RELAY": "true" if by == "doors" else "false"}
        doors = stack.enter_context(serving(tmp_path, *FRAMEWORKS, **settings))
        processes = [door.process for door in doors]
        if by == "relay":
            processes.append(stack.enter_context(running(tmp_path, "relay", **settings)))
        told = failures_caused(doors, mail)
        with ThreadPoolExecutor() as both:
            for found in both.map(lambda door: mail_caused(door, mail, f"canary.{door.framework}@example.com"), doors):
                told += found
        # The last messages were taken; now the line that says so, and those that tell of failures.
        wanted = {"mail sent": len(mail.deliveries), "mail not sent": len(doors), "mail given up": len(doors)}
        assert eventually(lambda: events_of(processes) >= Counter(wanted), 20), events_of(processes)
    text = "".join(process.printed() for process in processes)
    objects(text)
    assert "twm_" not in text
    assert SMTP_PASSWORD not in text
    assert [found for canary in (*told, SMTP_PASSWORD, SECRET) for found in encodings(canary) if found in text] == []


def events_of(processes: Iterable[Process]) -> Counter[str]:
    """What these processes wrote of their mail, and how often."""
    lines = (line for process in processes for line in objects(process.printed()))
    return Counter(line["event"] for line in lines if line["logger"] == "relay")


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
