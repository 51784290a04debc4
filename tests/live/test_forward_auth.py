"""The guide to proxies that ask: nginx with its block, before an application that says what it was sent."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from yaml import safe_load

from tests.support.api import Api
from tests.support.documents import blocks
from tests.support.drivers import Answer, Headers, LiveDriver
from tests.support.postgres import free_port
from tests.support.programs import program
from tests.support.servers import CHEAP, FRAMEWORKS, HOST, ROOT, eventually, listens, run_command, serving
from tests.support.service_clients import ServiceClient

GUIDE = (ROOT / "docs" / "guides" / "forward-auth.md").read_text()
FIELDS = ("x-user-id", "x-user-roles", "x-session-id", "x-client-id")
FORGED = [("X-User-Id", "eve"), ("X-User-Roles", "admin"), ("X-Session-Id", "eve"), ("X-Client-Id", "eve")]


class Application(BaseHTTPRequestHandler):
    """An application that believes its proxy, and says whom it believes to serve."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps([[name.lower().replace("_", "-"), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Front:
    """The proxy, and the door that it asks."""

    door: Api
    proxy: Api
    folder: Path
    settings: dict[str, str]

    def ask(self, token: str | None, headers: Headers, method: str = "GET", content: bytes = b"") -> Answer:
        return self.proxy.send(method, "/orders", token=token, headers=headers, content=content)

    def believed(self, token: str, headers: Headers, method: str = "GET", content: bytes = b"") -> dict[str, str]:
        """The fields of which the application believes that they are the proxy's."""
        answer = self.ask(token, headers, method, content)
        assert answer.status == 200, answer.body
        found = [(name, value) for name, value in answer.json if name in FIELDS]
        assert len(dict(found)) == len(found)
        return dict(found)


@contextmanager
def application() -> Iterator[int]:
    server = ThreadingHTTPServer((HOST, 0), Application)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def nginx(folder: Path, server: str, port: int) -> Iterator[None]:
    """nginx with these lines in its block `http`."""
    executable = program("nginx", package="nginx-light")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = [
        "user root;" if os.geteuid() == 0 else "",  # its workers would have no access to the folder of a test
        f"daemon off; pid {folder}/nginx.pid; error_log stderr warn; events {{ }}",
        "http { access_log off;",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        server,
        "}",
    ]
    path = folder / "nginx.conf"
    path.write_text("\n".join(lines))
    process = subprocess.Popen([executable, "-e", "stderr", "-c", str(path)], stderr=subprocess.DEVNULL)
    try:
        assert eventually(partial(listens, port), 20)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    program("nginx", package="nginx-light")
    folder = tmp_path_factory.mktemp("front")
    settings = {**CHEAP, "AUTH_TRUSTED_PROXIES": HOST}
    port = free_port()
    (block,) = blocks(GUIDE, "nginx")
    with serving(folder, request.param, **settings) as (door,), application() as behind:
        for written, here in ((":8000", door.port), (":8080", port), (":7000", behind)):
            assert written in block
            block = block.replace(written, f":{here}")
        with nginx(folder, block, port):
            proxy = replace(door.api, driver=LiveDriver(f"http://{HOST}:{port}"))
            yield Front(door.api, proxy, folder, settings)


def test_nobody_without_a_good_token_gets_in(front: Front) -> None:
    for token in (None, "a.b.c", "x y"):
        answer = front.ask(token, FORGED)
        assert answer.status == 401
        assert (answer.header("WWW-Authenticate") or "").startswith('Bearer realm="twinauth"')


def test_what_a_user_says_of_itself_is_overwritten(front: Front) -> None:
    user = front.door.signup("ann@example.com")
    token = front.door.login("ann@example.com")["access_token"]
    (session,) = front.door.get("/v1/sessions", token=token).json["items"]
    right = {"x-user-id": user["id"], "x-session-id": session["id"], "x-client-id": "twinauth"}
    forgeries: tuple[Headers, ...] = (
        [],
        FORGED,
        [*FORGED, *FORGED],
        [(name.upper(), value) for name, value in FORGED],
        [(name.replace("-", "_"), value) for name, value in FORGED],
    )
    for headers in forgeries:
        assert front.believed(token, headers) == right, headers


def test_what_a_client_says_of_itself_is_overwritten(front: Front) -> None:
    made = run_command(front.folder, "clients", "create", "Orders", **front.settings)
    client_id, secret = (line.split()[-1] for line in made.stdout.splitlines()[:2])
    token = ServiceClient(front.door, client_id, secret).token().json["access_token"]
    assert front.believed(token, FORGED) == {"x-client-id": client_id}


def test_a_request_of_any_kind_is_asked_for_alike(front: Front) -> None:
    """What would be refused of another operation is none of the question's business."""
    token = front.door.signed_in("eve@example.com")["access_token"]
    headers = [("Content-Type", "image/png"), ("Content-Encoding", "gzip"), ("X-Long", "x" * 7000), *FORGED]
    assert front.believed(token, headers, "POST", b"x" * 100_000)["x-client-id"] == "twinauth"


def test_a_session_that_ended_is_refused_at_once(front: Front) -> None:
    token = front.door.signed_in("bob@example.com")["access_token"]
    assert front.ask(token, []).status == 200
    front.door.post("/v1/logout", token=token)
    assert front.ask(token, []).status == 401


def test_the_other_proxies_copy_every_field() -> None:
    (traefik,) = blocks(GUIDE, "yaml")
    (caddy,) = blocks(GUIDE, "caddyfile")
    forward_auth = safe_load(traefik)["http"]["middlewares"]["twinauth"]["forwardAuth"]
    assert [name.lower() for name in forward_auth["authResponseHeaders"]] == list(FIELDS)
    (copied,) = [line.split()[1:] for line in caddy.splitlines() if "copy_headers" in line]
    removed = [line.split("-", 1)[1] for line in caddy.splitlines() if "request_header" in line]
    assert [name.lower() for name in copied] == [name.lower() for name in removed] == list(FIELDS)
    assert caddy.index("request_header") < caddy.index("forward_auth")
