"""The pages behind the links of letters, as people use them: with a keyboard, a screen reader, a small screen."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # ships no types
from playwright.sync_api import Locator, Page, Request, Route, expect
from sqlalchemy import create_engine, update

from core.mail.model import MessageKind
from core.mail.one_time_tokens import digest_of
from core.mail.rendering import KIND_HEADER
from core.mail.sql import email_tokens
from core.mail.transports import LocalMailbox, recipient_of, text_of
from tests.support.api import OTHER_PASSWORD, PASSWORD
from tests.support.browser import AT_BOTH_DOORS, Visit
from tests.support.servers import ANSWER_SECONDS, Server, eventually

pytestmark = pytest.mark.browser

RESET = "/reset-password"
VERIFY = "/verify-email"
UNDO = "/undo-email-change"
PAGES = (RESET, VERIFY, UNDO)  # one script serves both; most is asked of the one where more can go wrong
# Of the right form, and nobody's.
RUBBISH = "twm_" + "x" * 32

PASSWORD_IS_SET = "The password is set. You can log in with it now."
ADDRESS_IS_CONFIRMED = "The address is confirmed."
LINK_IS_DEAD = "This link is too old, was used already, or was replaced by a newer one. Ask for a new one."
INCOMPLETE = "This address is not complete. Open the link from the message once more, or copy all of it."
UNAVAILABLE = "The service does not answer as it should. Try again in a moment."

PROBLEM = "application/problem+json"
NO_DECISION: list[dict[str, Any]] = [
    {"status": 503, "content_type": PROBLEM, "body": '{"code": "overloaded", "detail": "Too many."}'},
    {"status": 503, "content_type": "text/html", "body": "<h1>Bad day</h1>"},
    {"status": 500, "content_type": PROBLEM, "body": '{"code": "internal_error"}'},
    {"status": 429, "body": ""},
    {"status": 403, "content_type": "application/json", "body": "null"},
    # A proxy that shows its own login page, say: nothing was set, whatever the status says.
    {"status": 200, "content_type": "text/html", "body": "<h1>Welcome</h1>"},
]

TOO_MANY: dict[str, Any] = {"status": 429, "content_type": PROBLEM, "body": '{"code": "too_many_attempts"}'}

SMALL = {"viewport": {"width": 320, "height": 640}}
TEXT_SIZE = 16
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@dataclass(frozen=True)
class Owner:
    """Somebody with an account, who reads mail."""

    door: Server
    mailbox: LocalMailbox
    email: str

    def asks_for_reset(self) -> str:
        """Ask for a new password, and take the link out of the message; its path and fragment."""
        before = self.links(MessageKind.PASSWORD_RESET)
        assert self.door.api.post("/v1/send-password-reset", {"email": self.email}).status == 202
        return self.new_link(MessageKind.PASSWORD_RESET, before)

    def verification(self) -> str:
        """The link that came after the signup."""
        return self.new_link(MessageKind.EMAIL_VERIFICATION, set())

    def loses_the_account(self) -> str:
        """Have the address changed by one who knows the password; the link that undoes it."""
        new_email = f"thief.{self.email}"
        api, session = self.door.api, self.door.api.login(self.email)["access_token"]
        mine = token_of(self.verification())
        assert api.post("/v1/verify-email", {"token": mine}, token=session).status == 204
        assert api.ask_for_change(session, new_email).status == 202
        theirs = Owner(self.door, self.mailbox, new_email).new_link(MessageKind.EMAIL_CHANGE, set())
        assert api.post("/v1/verify-email", {"token": token_of(theirs)}).status == 204
        return self.new_link(MessageKind.EMAIL_CHANGED, set())

    def is_verified(self) -> bool:
        answer = self.door.api.whoami(self.door.api.login(self.email)["access_token"])
        assert answer.status == 200
        return bool(answer.json["email_verified"])

    def can_log_in(self, password: str) -> bool:
        status = self.door.api.post("/v1/login", {"email": self.email, "password": password}).status
        assert status in (200, 401)
        return status == 200

    def new_link(self, kind: MessageKind, before: set[str]) -> str:
        """The link of this kind that came, or comes, beside earlier ones."""
        assert eventually(lambda: bool(self.links(kind) - before), ANSWER_SECONDS)
        (link,) = self.links(kind) - before
        return link

    def links(self, kind: MessageKind) -> set[str]:
        """The links of this kind that have come."""
        # The link names the public URL, which stands before both front doors; the test stands before one of them.
        texts = [
            text_of(email)
            for email in self.mailbox.all()
            if recipient_of(email) == self.email and email[KIND_HEADER] == kind.value
        ]
        return {found[1] for text in texts for found in re.finditer(r"https?://[^/\s]+(/\S+#token=\S+)", text)}


LINKS = {RESET: Owner.asks_for_reset, VERIFY: Owner.verification, UNDO: Owner.loses_the_account}


@pytest.fixture
def owner(door: Server, mailbox: LocalMailbox) -> Owner:
    """Somebody who has just signed up."""
    email = f"ann.{secrets.token_hex(6)}@example.com"
    door.api.signup(email)
    return Owner(door, mailbox, email)


@AT_BOTH_DOORS
def test_a_password_is_reset_with_the_keyboard_alone(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.asks_for_reset())
    page.keyboard.press("Tab")
    expect(page.get_by_label("New password")).to_be_focused()
    page.keyboard.type(OTHER_PASSWORD)
    page.keyboard.press("Tab")
    expect(page.get_by_label("The same once more")).to_be_focused()
    page.keyboard.type(OTHER_PASSWORD)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Set the password")).to_be_focused()
    page.keyboard.press("Enter")

    assert_confirmed(page, PASSWORD_IS_SET)
    assert owner.can_log_in(OTHER_PASSWORD)
    assert not owner.can_log_in(PASSWORD)
    assert_calm(visit)


def test_two_different_passwords_are_told_and_sent_nowhere(visit: Visit) -> None:
    page = visit.open(with_token(RESET, RUBBISH))
    type_passwords(page, OTHER_PASSWORD, PASSWORD)
    again = page.get_by_label("The same once more")
    assert_told(page, "The two passwords are not the same.", at=again)
    assert page.get_by_label("New password").get_attribute("aria-invalid") is None
    assert [url for url in visit.requests if "/v1/" in url] == []
    assert_calm(visit)


def test_a_password_that_is_refused_is_told_and_leaves_the_link_as_it_is(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.asks_for_reset())
    refused = {
        "": "Type a password.",
        "two words": "This password is too short. Add a word or two.",
        "x" * 129: "This password is too long.",
        "passwordpassword": "This password is among the first that an attacker tries.",
        f"I am {owner.email}": "A password must not contain the e-mail address.",
    }
    for password, text in refused.items():
        type_passwords(page, password, password)
        assert_told(page, text, at=page.get_by_label("New password"))
    assert owner.can_log_in(PASSWORD)

    type_passwords(page, OTHER_PASSWORD, OTHER_PASSWORD)
    assert_confirmed(page, PASSWORD_IS_SET)
    assert owner.can_log_in(OTHER_PASSWORD)
    assert_calm(visit, expected={422: len(refused)})


def test_what_was_wrong_is_not_told_any_more_when_it_is_sent_anew(visit: Visit) -> None:
    page = visit.open(with_token(RESET, RUBBISH))
    type_passwords(page, OTHER_PASSWORD, PASSWORD)
    expect(page.get_by_role("alert")).to_be_visible()

    held = hold(page)
    type_passwords(page, OTHER_PASSWORD, OTHER_PASSWORD)
    expect(page.get_by_role("button")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    held[0].continue_()
    assert_dead(page, LINK_IS_DEAD)


def test_a_reset_link_works_once(visit: Visit, owner: Owner) -> None:
    link = owner.asks_for_reset()
    assert owner.door.api.post("/v1/reset-password", reset_body(link)).status == 204
    use(visit.open(link))
    assert_dead(visit.page, LINK_IS_DEAD)
    assert_calm(visit, expected={400: 1})


def test_a_reset_link_is_dead_after_a_newer_one(visit: Visit, owner: Owner) -> None:
    older = owner.asks_for_reset()
    newer = owner.asks_for_reset()
    use(visit.open(older))
    assert_dead(visit.page, LINK_IS_DEAD)
    # The page knows now that the older link leads nowhere; the newer one is opened in the same tab.
    use(visit.open(newer))
    assert_confirmed(visit.page, PASSWORD_IS_SET)


@pytest.mark.parametrize("path", [VERIFY])
def test_a_link_that_has_expired_is_told(visit: Visit, owner: Owner, database: str, path: str) -> None:
    link = owner.asks_for_reset() if path == RESET else owner.verification()
    expire(database, token_of(link))
    use(visit.open(link))
    assert_dead(visit.page, LINK_IS_DEAD)
    assert_calm(visit, expected={400: 1})


@pytest.mark.parametrize("path", [RESET])
def test_rubbish_for_a_token_is_told(visit: Visit, path: str) -> None:
    tokens = (RUBBISH, "x", "<b>bold</b>", "twm_\u00e4\U0001f511", RUBBISH * 20)
    for token in tokens:
        use(visit.open_anew(with_token(path, token)))
        assert_dead(visit.page, LINK_IS_DEAD)
    assert_calm(visit, expected={400: len(tokens)})


@pytest.mark.parametrize("path", [VERIFY])
def test_a_link_without_a_token_is_told_at_once(visit: Visit, path: str) -> None:
    for rest in ("", "#", "#token=", f"#{RUBBISH}", f"?token={RUBBISH}"):
        page = visit.open_anew(f"{path}{rest}")
        assert_dead(page, INCOMPLETE)
        assert page.url == f"{visit.door.url}{path}"
    assert [url for url in visit.requests if "/v1/" in url] == []
    assert_calm(visit)


def test_each_page_takes_the_token_of_its_own_links_only(visit: Visit, owner: Owner) -> None:
    use(visit.open(with_token(RESET, token_of(owner.verification()))))
    assert_dead(visit.page, LINK_IS_DEAD)
    use(visit.open(with_token(VERIFY, token_of(owner.asks_for_reset()))))
    assert_dead(visit.page, LINK_IS_DEAD)
    assert owner.can_log_in(PASSWORD)
    assert not owner.is_verified()


@pytest.mark.parametrize("path", [RESET])
def test_a_service_that_is_away_is_told_and_the_same_page_goes_on_when_it_is_back(
    visit: Visit, owner: Owner, path: str
) -> None:
    page = visit.open(owner.asks_for_reset() if path == RESET else owner.verification())
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    use(page)
    assert_told(page, UNAVAILABLE, at=page.get_by_role("alert"))
    assert page.locator("[aria-invalid]").count() == 0

    page.unroute("**/v1/**")
    page.get_by_role("button").press("Enter")  # what was typed is still there
    assert_confirmed(page, PASSWORD_IS_SET if path == RESET else ADDRESS_IS_CONFIRMED)
    assert [text for text in visit.complaints if "ERR_CONNECTION_REFUSED" not in text] == []


@pytest.mark.parametrize("path", [VERIFY])
def test_an_answer_that_is_no_decision_is_told_and_it_can_be_sent_again(visit: Visit, path: str) -> None:
    page = visit.open(with_token(path, RUBBISH))
    answers = iter(NO_DECISION)
    page.route("**/v1/**", lambda route: route.fulfill(**next(answers)))
    for _ in NO_DECISION:
        # What was told before is hidden when it is sent, and stands there anew when the answer has come.
        with page.expect_response("**/v1/**"):
            use(page)
        assert_told(page, UNAVAILABLE, at=page.get_by_role("alert"))
    reported = [answer["status"] for answer in NO_DECISION if answer["status"] >= 400]
    assert_calm(visit, expected={status: reported.count(status) for status in reported})


@AT_BOTH_DOORS
def test_an_address_is_verified_by_the_button_and_a_password_and_by_nothing_before(visit: Visit, owner: Owner) -> None:
    """As by a user who signed up in an application on a phone. Mail scanners open links, and some run scripts."""
    page = visit.open(owner.verification())
    expect(page.get_by_role("button", name="Confirm the address")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert [url for url in visit.requests if "/v1/" in url] == []
    assert not owner.is_verified()

    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Confirm the address")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert not owner.is_verified()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    assert_confirmed(page, ADDRESS_IS_CONFIRMED)
    assert owner.is_verified()
    assert_calm(visit, expected={403: 1})


def test_a_verification_link_that_was_used_is_confirmed_again(visit: Visit, owner: Owner) -> None:
    link = owner.verification()
    confirm(visit.open(link))
    assert_confirmed(visit.page, ADDRESS_IS_CONFIRMED)
    use(visit.open_anew(link))
    assert_confirmed(visit.page, ADDRESS_IS_CONFIRMED)
    assert_calm(visit, expected={403: 1})


def test_a_password_may_be_shown_and_a_wrong_one_is_told(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.verification())
    field = asked_for_password(page)
    expect(field).to_have_attribute("autocomplete", "current-password")
    expect(field).to_have_accessible_description(re.compile("the password that this account was made with"))
    field.fill(OTHER_PASSWORD)
    page.keyboard.press("Tab")
    show = page.get_by_role("button", name="Show")
    expect(show).to_be_focused()
    for key, kind, is_pressed in (("Space", "text", "true"), ("Enter", "password", "false")):
        page.keyboard.press(key)
        expect(field).to_have_attribute("type", kind)
        expect(show).to_have_attribute("aria-pressed", is_pressed)
    page.get_by_role("button", name="Confirm the address").press("Enter")
    assert_told(page, "This is not the password of the account.", at=field)
    field.fill(PASSWORD)
    field.press("Enter")
    assert_confirmed(page, ADDRESS_IS_CONFIRMED)
    assert_calm(visit, expected={403: 2})


def test_who_has_forgotten_the_password_is_sent_a_link_to_set_one(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.verification())
    asked_for_password(page)
    before = owner.links(MessageKind.PASSWORD_RESET)
    page.get_by_role("button", name="I forgot it: set a new one").press("Enter")
    field = page.get_by_label("E-mail address")
    expect(field).to_be_focused()
    for text, told in (("", "Type your e-mail address."), ("ann", "This is not an e-mail address.")):
        field.fill(text)
        field.press("Enter")
        assert_told(page, told, at=field)
    field.fill(owner.email)
    field.press("Enter")
    assert_confirmed(page, "If there is an account with this address, a message with a link is on its way.")
    use(visit.open_anew(owner.new_link(MessageKind.PASSWORD_RESET, before)))
    assert_confirmed(page, PASSWORD_IS_SET)
    assert owner.can_log_in(OTHER_PASSWORD)
    assert_calm(visit, expected={403: 1, 422: 2})


@AT_BOTH_DOORS
def test_an_account_that_one_did_not_make_is_deleted_with_the_keyboard_after_one_question(
    visit: Visit, owner: Owner
) -> None:
    page = visit.open(owner.verification())
    asked_for_password(page)
    disown = page.get_by_role("button", name="I did not make this account")
    disown.press("Enter")
    page.keyboard.press("Enter")  # pressed twice in haste, which answers nothing
    expect(page.get_by_text("Somebody made this account with your address.")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Back")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    assert owner.can_log_in(PASSWORD)

    disown.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Delete the account")).to_be_focused()
    page.keyboard.press("Enter")
    assert_confirmed(page, "The account is deleted.")
    assert not owner.can_log_in(PASSWORD)
    assert_calm(visit, expected={403: 1})


@AT_BOTH_DOORS
def test_an_address_is_taken_back_and_a_new_password_set_with_the_keyboard_alone(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.loses_the_account())
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Take the address back")).to_be_focused()
    assert [url for url in visit.requests if "/v1/" in url] == []
    page.keyboard.press("Enter")
    status = page.get_by_role("status")
    expect(status).to_have_text("The account has your address again. Now set a new password.")
    expect(status).to_be_focused()
    assert not owner.can_log_in(PASSWORD)

    before = owner.links(MessageKind.PASSWORD_RESET)
    page.keyboard.press("Tab")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type(owner.email)
    page.keyboard.press("Enter")
    assert_confirmed(page, "If there is an account with this address, a message with a link is on its way.")
    use(visit.open_anew(owner.new_link(MessageKind.PASSWORD_RESET, before)))
    assert_confirmed(page, PASSWORD_IS_SET)
    assert owner.can_log_in(OTHER_PASSWORD)
    assert_calm(visit)


def test_what_can_no_longer_be_taken_back_is_told(visit: Visit) -> None:
    use(visit.open(with_token(UNDO, RUBBISH)))
    told = "This link is too old, or there is nothing to take back any more. Write to the operator of this service."
    assert_dead(visit.page, told)
    assert_calm(visit, expected={400: 1})


@pytest.mark.parametrize("profile", [SMALL | {"locale": "de"}], ids=["small"])
def test_the_page_that_undoes_a_change_is_accessible_in_every_state(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.loses_the_account())
    expect(page.get_by_role("button")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button").press("Enter")
    expect(page.get_by_role("status")).to_be_focused()
    assert_accessible(page)
    page.get_by_role("button", name="Nachricht senden").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Geben Sie Ihre E-Mail-Adresse ein.")
    assert_accessible(page)


def test_too_many_wrong_passwords_are_told(visit: Visit) -> None:
    page = visit.open(with_token(VERIFY, RUBBISH))
    page.route("**/v1/**", lambda route: route.fulfill(**TOO_MANY))
    use(page)
    told = "That was tried too often. Wait a few minutes, and try again."
    assert_told(page, told, at=page.get_by_role("alert"))
    assert_calm(visit, expected={429: 1})


@AT_BOTH_DOORS
@pytest.mark.parametrize("path", PAGES)
def test_the_token_leaves_the_address_and_the_history_at_once_and_goes_nowhere_but_into_the_body(
    visit: Visit, owner: Owner, path: str
) -> None:
    link = LINKS[path](owner)
    token = token_of(link)
    asked: list[Request] = []
    visit.page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - Playwright marks the function
    page = visit.open(link)
    assert page.url == f"{visit.door.url}{path}"
    assert [address for address in visit.history() if token in address] == []
    assert_kept_nowhere(visit)

    confirm(page) if path == VERIFY else use(page)
    expect(page.get_by_role("status")).to_be_visible()
    sent = [request for request in asked if token in (request.post_data or "")]
    steps = 2 if path == VERIFY else 1
    assert [(request.method, request.url) for request in sent] == [("POST", f"{visit.door.url}/v1{path}")] * steps
    for request in asked:
        # Chromium tells of the fragment of the page's own address, and puts it on no wire.
        assert token not in request.url.partition("#")[0]
        headers = request.all_headers()
        assert "referer" not in headers
        assert token not in json.dumps(headers)
    assert_kept_nowhere(visit)
    assert token not in page.content()
    assert [address for address in visit.history() if token in address] == []
    assert_calm(visit, expected={403: steps - 1})


@pytest.mark.parametrize("path", [RESET])
def test_another_link_in_the_same_tab_takes_the_place_of_the_first(visit: Visit, owner: Owner, path: str) -> None:
    link = owner.asks_for_reset() if path == RESET else owner.verification()
    page = visit.open(with_token(path, RUBBISH))
    expect(page.get_by_role("button")).to_be_visible()
    # Only the fragment is another one, for which browsers load nothing.
    page.evaluate("link => location.assign(link)", link)
    expect(page).to_have_url(f"{visit.door.url}{path}")
    use(page)
    assert_confirmed(page, PASSWORD_IS_SET if path == RESET else ADDRESS_IS_CONFIRMED)
    assert [address for address in visit.history() if "token" in address] == []


@pytest.mark.parametrize("path", [RESET])
def test_impatience_sends_one_request(visit: Visit, owner: Owner, path: str) -> None:
    page = visit.open(owner.asks_for_reset() if path == RESET else owner.verification())
    held = hold(page)
    fill_in(page)
    button = page.get_by_role("button")
    button.dblclick()
    button.press("Enter")
    for field in page.locator("input").all():
        field.press("Enter")
    button.press("Enter")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_be_focused()
    held[0].continue_()
    assert_confirmed(page, PASSWORD_IS_SET if path == RESET else ADDRESS_IS_CONFIRMED)
    assert len(held) == 1


@pytest.mark.parametrize("profile", [{"locale": "de"}], ids=["de"])
def test_a_german_browser_is_spoken_to_in_german(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.asks_for_reset())
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page).to_have_title("Neues Passwort setzen")
    expect(page.get_by_role("heading")).to_have_text("Neues Passwort setzen")
    type_passwords(page, "kurz", "kurz", labels=("Neues Passwort", "Dasselbe noch einmal"))
    expect(page.get_by_role("alert")).to_have_text("Dieses Passwort ist zu kurz. Hängen Sie noch ein, zwei Wörter an.")
    type_passwords(page, OTHER_PASSWORD, OTHER_PASSWORD, labels=("Neues Passwort", "Dasselbe noch einmal"))
    assert_confirmed(page, "Das Passwort ist gesetzt. Sie können sich jetzt damit anmelden.")

    visit.open(VERIFY)
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page).to_have_title("Bestätigen Sie Ihre E-Mail-Adresse")
    assert_dead(
        page,
        "Diese Adresse ist nicht vollständig. Öffnen Sie den Link aus der Nachricht noch einmal oder "
        "kopieren Sie ihn ganz.",
    )


@pytest.mark.parametrize(("profile", "language"), [({"locale": "fr"}, "en"), ({"locale": "de-AT"}, "de")])
def test_the_page_says_which_language_it_is_in(visit: Visit, language: str) -> None:
    for path in PAGES:
        expect(visit.open(path).locator("html")).to_have_attribute("lang", language)


@pytest.mark.parametrize("profile", [{"java_script_enabled": False}], ids=["no script"])
def test_without_javascript_the_page_says_so_and_shows_no_form(visit: Visit) -> None:
    for path in PAGES:
        page = visit.open(with_token(path, RUBBISH))
        expect(page.locator("noscript p")).to_be_visible()
        expect(page.locator("noscript p")).to_contain_text("This page needs JavaScript")
        expect(page.locator("form:visible")).to_have_count(0)
        expect(page.get_by_role("status")).to_have_count(0)


def test_password_managers_are_told_that_a_new_password_is_asked_for(visit: Visit) -> None:
    page = visit.open(with_token(RESET, RUBBISH))
    for label in ("New password", "The same once more"):
        field = page.get_by_label(label)
        expect(field).to_have_attribute("type", "password")
        expect(field).to_have_attribute("autocomplete", "new-password")
    expect(page.get_by_label("New password")).to_have_accessible_description(
        re.compile("At least 12 characters; a few words in a row")
    )


# German, because its words are longer, and on a small screen, where everything is narrowest.
@pytest.mark.parametrize("profile", [SMALL | {"locale": "de"}], ids=["small"])
def test_the_reset_page_is_accessible_in_every_state(visit: Visit, owner: Owner) -> None:
    page = visit.open(RESET)
    assert_accessible(page)  # no token
    visit.open_anew(owner.asks_for_reset())
    expect(page.get_by_role("button")).to_be_visible()
    assert_accessible(page)
    type_passwords(page, OTHER_PASSWORD, PASSWORD, labels=("Neues Passwort", "Dasselbe noch einmal"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
    type_passwords(page, OTHER_PASSWORD, OTHER_PASSWORD, labels=("Neues Passwort", "Dasselbe noch einmal"))
    expect(page.get_by_role("status")).to_be_focused()
    assert_accessible(page)


@pytest.mark.parametrize("profile", [SMALL | {"locale": "de"}], ids=["small"])
def test_the_verification_page_is_accessible_in_every_state(visit: Visit, owner: Owner) -> None:
    page = visit.open(owner.verification())
    button = page.get_by_role("button")
    expect(button).to_be_visible()
    assert_accessible(page)
    page.route("**/v1/**", lambda route: route.abort())
    button.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    assert_accessible(page)
    page.unroute("**/v1/**")
    held = hold(page)
    button.press("Enter")
    expect(button).to_have_attribute("aria-disabled", "true")
    assert_accessible(page)  # while it is sent
    held[0].continue_()
    field = page.get_by_label("Passwort", exact=True)
    expect(field).to_be_focused()
    assert_accessible(page)
    page.unroute("**/v1/**")
    field.fill(OTHER_PASSWORD)
    field.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Das ist nicht das Passwort des Kontos.")
    assert_accessible(page)
    for name, back in (("Ich habe es vergessen: neues setzen", "Zurück"), ("Ich habe dieses Konto nicht angelegt", "")):
        page.get_by_role("button", name=name).press("Enter")
        assert_accessible(page)
        if back:
            page.get_by_role("button", name=back).press("Enter")
    page.get_by_role("button", name="Konto löschen").press("Enter")
    expect(page.get_by_role("status")).to_have_text("Das Konto ist gelöscht.")
    assert_accessible(page)


def with_token(path: str, token: str) -> str:
    return f"{path}#token={token}"


def token_of(link: str) -> str:
    return link.partition("#token=")[2]


def reset_body(link: str) -> dict[str, str]:
    return {"token": token_of(link), "new_password": OTHER_PASSWORD}


def expire(database: str, token: str) -> None:
    """Let the time of a token be over, which no setting makes shorter than a minute."""
    engine = create_engine(database)
    over = datetime.now(UTC) - timedelta(seconds=1)
    with engine.begin() as connection:
        found = connection.execute(
            update(email_tokens).where(email_tokens.c.digest == digest_of(token)).values(expires_at=over)
        )
    engine.dispose()
    assert found.rowcount == 1


def hold(page: Page) -> list[Route]:
    """Let requests to the API wait; the ones that do."""
    held: list[Route] = []
    page.route("**/v1/**", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
    return held


def fill_in(page: Page) -> None:
    """Type what the page asks for; the one of the verification asks for nothing at first."""
    for field in page.locator("input:visible").all():
        field.fill(OTHER_PASSWORD)


def use(page: Page) -> None:
    """Do what the page is there for."""
    expect(page.get_by_role("button")).to_be_visible()
    fill_in(page)
    page.get_by_role("button").press("Enter")


def asked_for_password(page: Page) -> Locator:
    """Confirm the address of a signup, and be asked for the password."""
    use(page)
    field = page.get_by_label("Password", exact=True)
    expect(field).to_be_focused()
    return field


def confirm(page: Page) -> None:
    """Confirm the address of a signup, with the password."""
    asked_for_password(page).fill(PASSWORD)
    page.keyboard.press("Enter")


def type_passwords(
    page: Page, first: str, second: str, *, labels: tuple[str, str] = ("New password", "The same once more")
) -> None:
    """Type both passwords and press Enter in the second field."""
    for label, password in zip(labels, (first, second), strict=True):
        page.get_by_label(label).fill(password)
    page.keyboard.press("Enter")


def assert_told(page: Page, text: str, *, at: Locator) -> None:
    """An error is shown, is announced, and the focus is where one goes on."""
    alert = page.get_by_role("alert")
    expect(alert).to_have_text(text)
    expect(alert).to_be_visible()
    expect(at).to_be_focused()
    if at.get_attribute("role") != "alert":
        expect(at).to_have_attribute("aria-invalid", "true")
        expect(at).to_have_accessible_description(re.compile(f"^{re.escape(text)}"))
    expect(page.get_by_role("status")).to_have_count(0)


def assert_dead(page: Page, text: str) -> None:
    """The link leads nowhere: that is told, and there is nothing more to type."""
    assert_told(page, text, at=page.get_by_role("alert"))
    expect(page.locator("form:visible")).to_have_count(0)


def assert_confirmed(page: Page, text: str) -> None:
    """It is done: that is announced, and nothing can be sent again."""
    status = page.get_by_role("status")
    expect(status).to_have_text(text)
    expect(status).to_be_visible()
    expect(status).to_be_focused()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("form, input, button")).to_have_count(0)


def assert_calm(visit: Visit, *, expected: dict[int, int] | None = None) -> None:
    """Nothing was asked elsewhere, nothing stopped, and the browser reports only the answers that were expected."""
    assert visit.asked_elsewhere() == []
    assert visit.violations() == []
    reports = [
        found and int(found[1]) for found in (re.search(r"status of (\d{3})", text) for text in visit.complaints)
    ]
    assert reports == [status for status, count in (expected or {}).items() for _ in range(count)], visit.complaints


def assert_kept_nowhere(visit: Visit) -> None:
    assert visit.page.evaluate("[localStorage.length, sessionStorage.length, window.name]") == [0, 0, ""]
    assert visit.page.context.cookies() == []


def assert_accessible(page: Page) -> None:
    """axe finds nothing in either colour scheme, and letters of twice the size make nobody scroll sideways."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    assert sideways(page) == 0
    session = page.context.new_cdp_session(page)
    session.send("Page.setFontSizes", {"fontSizes": {"standard": 2 * TEXT_SIZE}})
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == f"{2 * TEXT_SIZE}px"
    assert sideways(page) == 0
    session.send("Page.setFontSizes", {"fontSizes": {"standard": TEXT_SIZE}})
    session.detach()


def sideways(page: Page) -> int:
    """How many pixels of the page lie beside the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
