"""A page of another origin calls the service, as a browser lets it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.support.api import PASSWORD
from tests.support.browser import AT_BOTH_DOORS, Visit
from tests.support.servers import HOST

pytestmark = pytest.mark.browser

# What tracers add to each call of a page, and what HTTP clients of pages do.
FIELDS = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "baggage": "sentry-release=1",
    "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "X-Requested-With": "XMLHttpRequest",
    "Cache-Control": "no-cache",
}
CALL = """async ([url, method, headers, body]) => {
  try {
    const answer = await fetch(url, {method, headers, body, credentials: "include"});
    return {status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text()};
  } catch (error) {
    return {refused: error.name};
  }
}"""


class Page(BaseHTTPRequestHandler):
    """The page of an application: it is empty, and may call whom it likes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>An application</title>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def application() -> Iterator[str]:
    """An application at an origin of its own."""
    server = ThreadingHTTPServer((HOST, 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def origins() -> Iterator[dict[str, str]]:
    """The origin that is listed, and one that is not."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(application()) for name in ("listed", "other")}


@pytest.fixture(scope="module")
def settings(origins: dict[str, str]) -> dict[str, str]:
    return {"AUTH_CORS_ORIGINS": origins["listed"]}


def call(visit: Visit, path: str, *, method: str = "GET", body: str | None = None, **headers: str) -> dict[str, Any]:
    """Call the service from the page that is open."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: dict[str, Any] = visit.page.evaluate(CALL, [visit.door.url + path, method, FIELDS | named, body])
    return answer


@AT_BOTH_DOORS
def test_a_page_of_a_listed_origin_calls_with_its_tracer_and_reads_every_answer(
    visit: Visit, origins: dict[str, str]
) -> None:
    email = f"ann.{secrets.token_hex(6)}@example.com"
    visit.door.api.signup(email)
    token = visit.door.api.login(email)["access_token"]
    visit.page.goto(origins["listed"])
    login = call(
        visit,
        "/v1/login",
        method="POST",
        body=f'{{"email": "{email}", "password": "{PASSWORD}"}}',
        Content_Type="application/json",
    )
    assert login["status"] == 200
    assert call(visit, "/v1/whoami", Authorization=f"Bearer {token}")["status"] == 200
    refused = call(visit, "/v1/whoami", Authorization="Bearer nothing")
    assert (refused["status"], "error=" in refused["headers"]["www-authenticate"]) == (401, True)
    missing = call(visit, "/v1/nothing")
    assert (missing["status"], missing["headers"]["x-request-id"] in missing["body"]) == (404, True)
    assert call(visit, "/v1/login", method="PUT")["status"] == 405
    feed = call(visit, "/v1/revocations")
    tag = feed["headers"]["etag"]
    assert call(visit, f"/v1/revocations?since={tag.strip(chr(34))}", If_None_Match=tag)["status"] == 304


@AT_BOTH_DOORS
def test_a_page_of_another_origin_reads_nothing(visit: Visit, origins: dict[str, str]) -> None:
    visit.page.goto(origins["other"])
    assert call(visit, "/healthz") == {"refused": "TypeError"}
