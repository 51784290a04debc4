"""A real browser before real servers, and a record of what it asked for and complained about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

from tests.databases import sqlite_url
from tests.servers import CHEAP, FRAMEWORKS, HOST, Server, serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Should a page ask another host after all, the question ends here.
    f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {HOST}",
]
WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event =>
  window.violations.push(`${event.effectiveDirective}: ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it.

    Playwright's event loop counts as running in this thread as long as it lives, so it must not outlive the module.
    """
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def doors(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:  # noqa: ARG001
    """Both front doors over one database; not started where there is no browser."""
    folder = tmp_path_factory.mktemp("doors")
    with ExitStack() as stack:
        url = stack.enter_context(sqlite_url(folder))
        servers = stack.enter_context(serving(folder, *FRAMEWORKS, AUTH_DATABASE_URL=url, **CHEAP))
        yield {server.framework: server for server in servers}


@pytest.fixture(params=FRAMEWORKS)
def door(request: pytest.FixtureRequest, doors: dict[str, Server]) -> Server:
    """One of them."""
    return doors[request.param]


@dataclass
class Visit:
    """A page of a front door in a fresh browser profile."""

    door: Server
    page: Page
    requests: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.door.url}{path}")
        return self.page

    def violations(self) -> list[str]:
        """What the content security policy refused."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def asked_elsewhere(self) -> list[str]:
        """The requests that left for another host; what the policy stopped did not leave."""
        ours = f"{HOST}:{self.door.port}"
        elsewhere = [url for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
        return [url for url in elsewhere if urlsplit(url).netloc != ours and url not in self.stopped]

    def on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def on_request_failed(self, request: Request) -> None:
        if request.failure == "csp":
            self.stopped.append(request.url)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def on_page_error(self, error: Error) -> None:
        self.complaints.append(str(error))


@pytest.fixture
def visit(browser: Browser, door: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit; what the page looked like at its end stays in the folder of the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en")
    context.add_init_script(WATCH_POLICY)
    visit = Visit(door, context.new_page())
    handlers: dict[Any, Any] = {
        "request": visit.on_request,
        "requestfailed": visit.on_request_failed,
        "console": visit.on_console,
        "pageerror": visit.on_page_error,
    }
    for event, handler in handlers.items():
        visit.page.on(event, handler)
    yield visit
    visit.page.screenshot(path=tmp_path / f"{request.node.originalname}.png", full_page=True)
    context.close()
