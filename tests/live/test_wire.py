"""What goes over the wire, where no driver or test client tidies it up: hostile framing, odd paths, and parity."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import pytest

from core.http.edge.routing import METHODS
from tests.support.api import OTHER_PASSWORD, PASSWORD, Api
from tests.support.drivers import Answer, Headers
from tests.support.live import Pair
from tests.support.parity import comparable
from tests.support.servers import FRAMEWORKS, Server, parsed
from tests.support.unreadable import CLOSING, UNREAD, UNREADABLE

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

LIMIT = 16 * 1024
JSON: Headers = [("Content-Type", "application/json")]

BANNERS = re.compile(rb"gunicorn|uvicorn|werkzeug|flask|fastapi|starlette|python|twinauth/\d", re.IGNORECASE)


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /healthz HTTP/1.1",
        b"GET /nothing HTTP/1.1",
        b"POST /healthz HTTP/1.1",
        b"GET /v1/whoami HTTP/1.1",
        b"junk",
    ],
)
def test_no_answer_says_what_serves_it(server: Server, request_line: bytes) -> None:
    raw = server.raw(request_line + b"\r\n" + CLOSING + b"\r\n")
    assert parsed(raw).all("Server") == []
    assert BANNERS.findall(raw) == []


def test_two_authorization_headers_are_refused(server: Server, email: str) -> None:
    token = server.api.signed_in(email)["access_token"]
    answer = server.api.get("/v1/whoami", headers=[("Authorization", f"Bearer {token}")] * 2)
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


def test_request_without_a_host_is_refused(server: Server) -> None:
    assert parsed(server.raw(UNREADABLE["no host"])).status == 400


def test_old_client_is_answered_and_its_connection_closed(server: Server) -> None:
    answer = parsed(server.raw(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"))
    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_small_chunked_body_is_read(server: Server, email: str) -> None:
    server.api.signup(email)
    content = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    assert server.api.send("POST", "/v1/login", content=content, headers=JSON, chunked=True).status == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_body_of_exactly_the_limit_is_read(server: Server, *, chunked: bool) -> None:
    answer = server.api.send("POST", "/v1/login", content=b"x" * LIMIT, headers=JSON, chunked=chunked)
    assert (answer.status, answer.json["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [LIMIT + 1, 16 * LIMIT])
def test_body_over_the_limit_is_refused(server: Server, size: int, *, chunked: bool) -> None:
    answer = server.api.send("POST", "/v1/login", content=b"x" * size, headers=JSON, chunked=chunked)
    assert (answer.status, answer.json["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("framing", [b"Content-Length: 70000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n11170\r\n"])
def test_connection_goes_on_after_a_refused_body_or_says_that_it_ends(server: Server, framing: bytes) -> None:
    end = b"\r\n0\r\n\r\n" if b"chunked" in framing else b""
    refused = b"POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\n" + framing + b"x" * 70_000 + end
    raw = server.raw(refused + b"GET /healthz HTTP/1.1\r\n" + CLOSING + b"\r\n")
    assert parsed(raw).status == 413
    says_close = (parsed(raw).header("Connection") or "").lower() == "close"
    assert says_close or raw.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/whoami", "/v1/login", "/nothing", "/openapi.json", "/docs", "/assets/favicon.png"]
)
def test_head_answers_as_get_without_the_body(server: Server, path: str) -> None:
    get, head = (
        parsed(server.raw(f"{method} {path} HTTP/1.1\r\n".encode() + CLOSING + b"X-Request-ID: same\r\n\r\n"))
        for method in ("GET", "HEAD")
    )
    assert head.body == b""
    assert head.status == get.status
    assert head.header("Content-Length") == get.header("Content-Length") == str(len(get.body))


def test_a_ping_of_the_whole_server_is_answered(server: Server) -> None:
    assert parsed(server.raw(b"OPTIONS * HTTP/1.1\r\n" + CLOSING + b"\r\n")).status == 204


def test_a_method_of_the_registry_is_not_allowed(server: Server) -> None:
    """Whatever the parser of the server knows of."""
    for method in sorted(METHODS - {"GET", "HEAD", "OPTIONS"}):
        answer = parsed(server.raw(f"{method} /healthz?a=b HTTP/1.1\r\n".encode() + CLOSING + b"\r\n"))
        assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS"), method
        nothing = parsed(server.raw(f"{method} /nothing HTTP/1.1\r\n".encode() + CLOSING + b"\r\n"))
        assert nothing.status == 404, method


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_request_is_refused_and_not_echoed(server: Server, name: str) -> None:
    raw = server.raw(UNREADABLE[name])
    assert parsed(raw).json["code"] in UNREAD
    assert b"canary" not in raw.lower()


STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LOGIN = b"POST /v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
def test_requests_that_come_together_are_answered_one_after_the_other(server: Server, size: int) -> None:
    requests = b"".join(
        (
            HEALTH,
            LOGIN + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Trailer: a\r\n\r\n",
            LOGIN + b"Content-Length: 2\r\n\r\n{}\r\n",
            HEALTH.replace(b"healthz", b"nothing"),
            LOGIN + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n{",
            b"junk\r\n\r\n",
            HEALTH,
        )
    )
    with server.connect() as connection:
        for at in range(0, len(requests), size):
            connection.sendall(requests[at : at + size])
        received = b""
        while part := connection.recv(65536):
            received += part
    statuses = STATUS.findall(received.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    assert statuses[:5] == [b"200", b"422", b"422", b"404", b"400"]
    # What is no request ends the connection. httptools may find it before the request ahead of it is answered.
    assert statuses[5:] in ([], [b"400"])


def ended(server: Server, request: bytes) -> bytes:
    """What comes back to a client that has sent this and says that it sends no more."""
    with server.connect() as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_who_sends_no_more_is_answered(server: Server, email: str) -> None:
    server.api.signup(email)
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    assert STATUS.findall(ended(server, LOGIN + b"Content-Length: %d\r\n\r\n" % len(body) + body)) == [b"200"]
    assert STATUS.findall(ended(server, HEALTH * 3)) == [b"200"] * 3
    assert STATUS.findall(ended(server, HEALTH + HEALTH[:10])) == [b"200"]
    assert ended(server, b"") == b""


def test_a_body_that_is_cut_off_means_nothing(server: Server, email: str) -> None:
    """What is there may be valid JSON, and mean something else than the whole."""
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    raw = ended(server, LOGIN.replace(b"login", b"signup") + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
    assert STATUS.findall(raw) in ([], [b"400"])
    assert server.api.post("/v1/login", {"email": email, "password": PASSWORD}).status == 401


def test_a_client_that_goes_on_sending_gets_its_answer(server: Server) -> None:
    """A connection that is closed with bytes in it that nobody has read is reset, and the answer may be lost."""
    with server.connect() as connection:
        connection.sendall(LOGIN + b"Content-Length: 100000000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert STATUS.findall(received) == [b"413"]


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        (b"POST /v1/login", b"Content-Length: 70000", 413),
        (b"POST /healthz", b"Content-Length: 5", 405),
        (b"OPTIONS /healthz", b"Content-Length: 5", 204),
        (b"HEAD /v1/whoami", b"Expect: 200-ok", 400),
    ],
)
def test_what_its_head_refuses_is_answered_as_any_other_and_without_its_body(
    server: Server, request_line: bytes, fields: bytes, status: int
) -> None:
    head = request_line + b" HTTP/1.1\r\n" + CLOSING + b"X-Request-ID: mine\r\n" + fields + b"\r\n\r\n"
    answer = parsed(server.raw(head))
    assert comparable(answer) == comparable(parsed(server.raw(head + b"hello")))
    assert (answer.status, answer.header("X-Request-ID"), answer.header("Connection")) == (status, "mine", "close")
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert bool(answer.body) is (not request_line.startswith((b"HEAD", b"OPTIONS")))


Ask = Callable[[Api, str, str], Answer]
"""A request, made of the door, the caller's address and the caller's access token."""

SAME: dict[str, Ask] = {
    "signup": lambda api, email, _: api.post("/v1/signup", {"email": f"new.{email}", "password": PASSWORD}),
    "signup of a taken address": lambda api, email, _: api.post("/v1/signup", {"email": email, "password": PASSWORD}),
    "signup with a weak password": lambda api, *_: api.post("/v1/signup", {"email": "a@example.com", "password": "a"}),
    "signup as an admin": lambda api, email, _: api.post(
        "/v1/signup", {"email": email, "password": PASSWORD, "roles": ["admin"]}
    ),
    "login": lambda api, email, _: api.post("/v1/login", {"email": email, "password": PASSWORD}),
    "login with a wrong password": lambda api, email, _: api.post(
        "/v1/login", {"email": email, "password": OTHER_PASSWORD}
    ),
    "login without a content type": lambda api, *_: api.send("POST", "/v1/login", content=b"{}"),
    "login with broken JSON": lambda api, *_: api.send("POST", "/v1/login", content=b'{"a":NaN}', headers=JSON),
    "login with an address twice": lambda api, *_: api.send(
        "POST", "/v1/login", content=b'{"email":"a","email":"b"}', headers=JSON
    ),
    "login that expects to be told to go on": lambda api, *_: api.send(
        "POST", "/v1/login", content=b"{}", headers=[*JSON, ("Expect", "100-continue")]
    ),
    "token": lambda api, email, _: api.post(
        "/v1/token", form={"grant_type": "password", "username": email, "password": PASSWORD}
    ),
    "token of an unknown grant": lambda api, *_: api.post("/v1/token", form={"grant_type": "magic"}),
    "token for a client": lambda api, *_: api.post(
        "/v1/token", form={"grant_type": "password"}, headers=[("Authorization", "Basic YTpi")]
    ),
    "refresh with junk": lambda api, *_: api.refresh("junk"),
    "whoami": lambda api, _, token: api.whoami(token),
    "whoami with a query": lambda api, _, token: api.get("/v1/whoami?a=b", token=token),
    "whoami of nobody": lambda api, *_: api.get("/v1/whoami"),
    "whoami with junk": lambda api, *_: api.whoami("junk"),
    "rename": lambda api, _, token: api.patch("/v1/account", {"display_name": "Ann ☃"}, token=token),
    "sessions": lambda api, _, token: api.get("/v1/sessions", token=token),
    "end of no session": lambda api, _, token: api.delete("/v1/sessions/1", token=token),
    "logout": lambda api, _, token: api.post("/v1/logout", token=token),
    "wrong method": lambda api, *_: api.delete("/v1/login"),
    "method of another protocol": lambda api, *_: api.send("PROPFIND", "/healthz"),
    "method that nobody knows": lambda api, *_: api.send("FETCH", "/healthz"),
    "options": lambda api, *_: api.send("OPTIONS", "/v1/sessions"),
    "options of the server": lambda api, *_: api.send("OPTIONS", "*"),
    "slash at the end": lambda api, *_: api.get("/healthz/"),
    "slash twice": lambda api, *_: api.get("//healthz"),
    "path with dots": lambda api, *_: api.get("/v1/../healthz"),
    "path with escapes": lambda api, *_: api.get("/%68ealthz"),
    "path with escapes that are not UTF-8": lambda api, *_: api.get("/%ff"),
    "path with a host": lambda api, *_: api.get("http://127.0.0.1/healthz"),
    "target of 6000 characters": lambda api, *_: api.get("/healthz?" + "x" * 6000),
    "upgrade to a web socket": lambda api, *_: api.get(
        "/healthz",
        headers=[
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
    ),
    "101 header fields": lambda api, *_: api.get("/healthz", headers=[(f"X-{number}", "x") for number in range(101)]),
    "body where none is taken": lambda api, *_: api.send("GET", "/healthz", content=b"hello"),
    "nothing there": lambda api, *_: api.get("/nothing"),
    "signing keys": lambda api, *_: api.get("/.well-known/jwks.json"),
    "metadata": lambda api, *_: api.get("/.well-known/oauth-authorization-server"),
    "problem": lambda api, *_: api.get("/problems/email_taken"),
    "ready": lambda api, *_: api.get("/readyz"),
    "document": lambda api, *_: api.get("/openapi.json"),
    "docs": lambda api, *_: api.get("/docs"),
    "redoc": lambda api, *_: api.get("/redoc"),
    "asset": lambda api, *_: api.get("/assets/swagger-ui.css"),
    "asset outside its folder": lambda api, *_: api.get("/assets/..%2fpages.py"),
}


@pytest.mark.parametrize("name", SAME)
def test_both_doors_answer_alike(pair: Pair, email: str, name: str) -> None:
    answers = []
    for framework in FRAMEWORKS:
        api, address = pair[framework].api, email.replace(".", f".{framework:.2}", 1)
        status, headers, body = comparable(SAME[name](api, address, api.signed_in(address)["access_token"]))
        body = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", body.replace(address, "<address>"))
        answers.append((status, headers, body))
    assert answers[0] == answers[1]
