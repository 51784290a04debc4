"""A visit to a front door with a real browser, and a record of what the page asked for and complained about."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, Error, Page, Request

from tests.support.servers import FRAMEWORKS, HOST, Server

AT_BOTH_DOORS = pytest.mark.parametrize("door", FRAMEWORKS, indirect=True)


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

    def open_anew(self, path: str) -> Page:
        """Open, also where it differs from the page that is open in its fragment alone, for which nothing is loaded."""
        self.page.goto("about:blank")
        return self.open(path)

    def violations(self) -> list[str]:
        """What the content security policy refused."""
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def asked_elsewhere(self) -> list[str]:
        """The requests that left for another host; what the policy stopped did not leave."""
        ours = f"{HOST}:{self.door.port}"
        elsewhere = [url for url in self.requests if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
        return [url for url in elsewhere if urlsplit(url).netloc != ours and url not in self.stopped]

    def history(self) -> list[str]:
        """The addresses that the tab can go back to."""
        session = self.page.context.new_cdp_session(self.page)
        entries = session.send("Page.getNavigationHistory")["entries"]
        session.detach()
        return [entry["url"] for entry in entries]

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
