"""A real browser before real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from core.mail.transports import LocalMailbox
from tests.support.browser import Visit
from tests.support.databases import sqlite_url
from tests.support.programs import program
from tests.support.servers import CHEAP, FRAMEWORKS, HOST, Server, serving

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
    executable = program(*NAMES, package="chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the front doors keep what they have."""
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[str]:
    """The URL of the database behind both front doors."""
    with sqlite_url(folder) as url:
        yield url


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """What is special about the front doors; a module says it."""
    return {}


@pytest.fixture(scope="module")
def doors(
    browser: Browser,  # noqa: ARG001 - not started where there is none
    folder: Path,
    database: str,
    settings: dict[str, str],
) -> Iterator[dict[str, Server]]:
    """Both front doors over one database."""
    # A disk that is busy with something else keeps a commit waiting; what is looked at here is what a page says.
    patience = {"AUTH_DATABASE_TIMEOUT": "10"}
    with serving(folder, *FRAMEWORKS, AUTH_DATABASE_URL=database, **CHEAP, **patience, **settings) as servers:
        yield {server.framework: server for server in servers}


@pytest.fixture(scope="module")
def mailbox(folder: Path) -> LocalMailbox:
    """The messages that both front doors sent."""
    return LocalMailbox(folder / "data" / "mail")


@pytest.fixture
def door(request: pytest.FixtureRequest, doors: dict[str, Server]) -> Server:
    """One of them: the pages are the same bytes at both (tests/contract); `AT_BOTH_DOORS` asks the other one too."""
    return doors[getattr(request, "param", "fastapi")]


@pytest.fixture
def profile() -> dict[str, Any]:
    """What is special about the browser; a test or a module says it."""
    return {}


@pytest.fixture
def visit(
    browser: Browser, door: Server, profile: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """A visit; what the page looked like at its end stays in the folder of the test."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en"} | profile)
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
