"""The documentation pages, as a browser shows them."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.api import PASSWORD
from tests.support.browser import AT_BOTH_DOORS, Visit
from tests.support.contract import OPERATIONS

pytestmark = pytest.mark.browser

DOCUMENTED = [operation for operation in OPERATIONS.values() if operation.documented]
REDOC_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """A proxy may stand in front that shows the service below a path, and leaves it in."""
    return {"AUTH_ROOT_PATH": "/auth"}


def test_docs_show_every_operation_ask_nobody_else_and_complain_of_nothing(visit: Visit) -> None:
    page = visit.open("/docs")
    blocks = page.locator(".opblock")
    expect(blocks).to_have_count(len(DOCUMENTED))
    shown = {
        (
            block.locator(".opblock-summary-method").inner_text(),
            block.locator(".opblock-summary-path").get_attribute("data-path"),
            block.locator(".opblock-summary-description").inner_text(),
        )
        for block in blocks.all()
    }
    assert shown == {(operation.method.value, operation.path, operation.summary) for operation in DOCUMENTED}
    login = operation(page, "login")
    login.locator(".opblock-summary-control").click()
    expect(login.get_by_role("button", name="Execute")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert visit.asked_elsewhere() == []
    assert visit.violations() == []
    assert visit.complaints == []


@AT_BOTH_DOORS
@pytest.mark.parametrize("prefix", ["", "/auth"])
def test_docs_try_whoami_before_and_after_authorizing_with_a_password_and_keep_no_token(
    visit: Visit, prefix: str
) -> None:
    email = f"ann.{secrets.token_hex(6)}@example.com"
    user = visit.door.api.signup(email)
    page = visit.open(f"{prefix}/docs")
    whoami = operation(page, "whoami")
    whoami.locator(".opblock-summary-control").click()
    assert executed(whoami)[0] == 401

    authorize(page, email, PASSWORD)
    assert executed(whoami) == (200, user)
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert page.context.cookies() == []

    # The browser itself reports the answer 401 as an error; it is the only one.
    assert [text for text in visit.complaints if "401" not in text] == []
    assert len(visit.complaints) == 1
    paths = [urlsplit(url).path for url in visit.requests if urlsplit(url).scheme == "http"]
    assert [path for path in paths if not path.startswith(f"{prefix}/")] == []
    assert f"{prefix}/v1/token" in paths
    assert visit.violations() == []
    assert visit.asked_elsewhere() == []


def test_docs_tell_of_a_wrong_password(visit: Visit) -> None:
    page = visit.open("/docs")
    dialog = page.locator(".modal-ux")
    fill_in(page, f"ann.{secrets.token_hex(6)}@example.com", PASSWORD)
    expect(dialog.locator(".errors").first).to_contain_text("invalid_grant")


def test_redoc_shows_every_operation_and_asks_nobody_else(visit: Visit) -> None:
    page = visit.open("/redoc")
    for documented in DOCUMENTED:
        expect(page.locator(f'[id="operation/{documented.id}"]')).to_have_count(1)
        expect(page.locator(f'[data-section-id="operation/{documented.id}"]').first).to_contain_text(documented.summary)
    page.wait_for_load_state("networkidle")
    assert visit.asked_elsewhere() == []
    # ReDoc's footer wants its maker's logo from a CDN. The policy stops it before it leaves; nothing else is stopped.
    assert [text for text in visit.violations() if REDOC_LOGO not in text] == []
    assert [text for text in visit.complaints if REDOC_LOGO not in text] == []


def operation(page: Page, operation_id: str) -> Locator:
    """The block of an operation."""
    return page.locator(f".opblock[id$='-{operation_id}']")


def executed(block: Locator) -> tuple[int, Any]:
    """Execute, and read status and body as the page shows them."""
    clear = block.get_by_role("button", name="Clear")
    if clear.is_visible():
        clear.click()
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table .response")
    status = live.locator(".response-col_status")
    expect(status).to_have_text(re.compile(r"\d{3}"))
    body = live.locator(".response-col_description .highlight-code code, .response-col_description pre code").first
    return int(status.inner_text().split()[0]), json.loads(body.inner_text())


def fill_in(page: Page, email: str, password: str) -> None:
    """Open the dialog, and send the form of the password flow; the client fields stay empty."""
    page.locator(".auth-wrapper .authorize").first.click()
    form = page.locator(".modal-ux .auth-container").filter(has_text="OAuth2, password")
    form.get_by_label("username").fill(email)
    form.get_by_label("password").fill(password)
    form.get_by_role("button", name="Apply given OAuth2 credentials").click()


def authorize(page: Page, email: str, password: str) -> None:
    """Log in with the password flow, and close the dialog."""
    fill_in(page, email, password)
    dialog = page.locator(".modal-ux")
    # One for each flow of the scheme, which share what was authorized.
    expect(dialog.get_by_role("button", name="Remove authorization").first).to_be_visible()
    dialog.get_by_role("button", name="Close").last.click()
    expect(dialog).to_be_hidden()
