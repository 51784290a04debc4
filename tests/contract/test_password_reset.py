"""POST /v1/send-password-reset and POST /v1/reset-password."""

import asyncio
import logging
from collections.abc import Callable
from itertools import product
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from core.authentication.errors import Overloaded
from core.mail.sql import email_tokens, outbox
from core.mail.transports import MailError, recipient_of, text_of
from core.settings.groups import HttpSettings, MailSettings
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import html_of, kind_of, link_of, token_of
from tests.support.parity import fields_of
from tests.support.services import FRAMEWORKS, Service, on_one_database, open_service

pytestmark = on_one_database


Arrange = Callable[[Api], object]


def nobody(_: Api) -> None:
    """There is no such account."""


def unverified(api: Api) -> None:
    api.signup()
    api.deliver()


def verified(api: Api) -> None:
    api.verified()


def inactive(api: Api) -> None:
    api.verified()
    api.deactivate()


def kinds(api: Api) -> list[str]:
    return sorted(kind_of(letter) for letter in api.deliver())


NO_ADDRESSES: tuple[tuple[object, str], ...] = (
    ("", "too_short"),
    ("ann", "email_invalid"),
    ("@example.com", "email_invalid"),
    ("Ann <ann@example.com>", "email_invalid"),
    ("ann@example.com,eve@example.com", "email_invalid"),
    ("ann@example.com eve@example.com", "email_invalid"),
    ("ann@example.com\r\nBcc: eve@example.com", "email_invalid"),
    ("ann@example.com\nBcc: eve@example.com", "email_invalid"),
    ("ann\r\nBcc:eve@example.com", "email_invalid"),
    ("ann@example.com%0d%0aBcc:eve@example.com", "email_invalid"),
    ("ann@example.com\u2028Bcc: eve@example.com", "email_invalid"),
    ('"ann\r\nBcc: eve"@example.com', "email_invalid"),
    ("ann\u0000@example.com", "email_invalid"),
    ("a" * 65 + "@example.com", "email_too_long"),
    ("a@" + "b" * 260 + ".com", "too_long"),
    (None, "wrong_type"),
    (1, "wrong_type"),
    (["ann@example.com"], "wrong_type"),
    ({"$ne": ""}, "wrong_type"),
)


class TestAsking:
    @pytest.mark.parametrize("arrange", [nobody, unverified, verified, inactive])
    def test_is_answered_with_the_same_bytes_whoever_has_the_address(self, api: Api, arrange: Arrange) -> None:
        arrange(api)
        answer = api.ask_for_reset(headers=[("X-Request-ID", "r")])
        assert (answer.status, answer.body) == (202, b"")
        assert sorted((name.lower(), value) for name, value in answer.headers) == [
            ("cache-control", "no-store"),
            ("content-length", "0"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("x-request-id", "r"),
        ]

    @pytest.mark.parametrize(("arrange", "sent"), [(nobody, 0), (unverified, 1), (verified, 1), (inactive, 0)])
    def test_sends_a_link_to_every_active_account(self, api: Api, arrange: Arrange, sent: int) -> None:
        arrange(api)
        assert api.ask_for_reset().status == 202
        assert kinds(api) == ["password_reset"] * sent

    def test_leaves_the_account_as_it_is(self, api: Api) -> None:
        pair = api.signed_in()
        before = api.whoami(pair["access_token"]).json
        api.reset_token()
        assert api.whoami(pair["access_token"]).json == before
        assert api.refresh(pair["refresh_token"]).status == 200
        api.login(EMAIL, PASSWORD)

    @pytest.mark.parametrize("spelling", ["Ann@example.com", "ANN@EXAMPLE.COM", "ann@Example.com"])
    def test_sends_to_the_stored_address_however_it_is_spelt(self, api: Api, spelling: str) -> None:
        api.signup("Ann@example.com")
        assert api.ask_for_reset(spelling).status == 202
        assert recipient_of(api.letter("password_reset")) == "Ann@example.com"

    @pytest.mark.parametrize("stranger", ["m\u0131ke@example.com", "mike@example.co", "mike+x@example.com"])
    def test_sends_nothing_to_an_address_that_only_looks_alike(self, api: Api, stranger: str) -> None:
        api.verified("mike@example.com")
        assert api.ask_for_reset(stranger).status == 202
        assert api.deliver() == []

    def test_with_no_address_is_invalid_and_stores_nothing(self, api: Api) -> None:
        api.verified()
        for email, code in NO_ADDRESSES:
            answer = api.post("/v1/send-password-reset", {"email": email})
            assert answer.status == 422, email
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("/email", code)], email
            assert b"eve" not in answer.body
        assert api.deliver() == []

    @pytest.mark.parametrize("body", [{}, {"email": EMAIL, "to": "eve@example.com"}, {"email": EMAIL, "url": "//eve"}])
    def test_takes_an_address_and_nothing_else(self, api: Api, body: dict[str, str]) -> None:
        api.verified()
        assert api.post("/v1/send-password-reset", body).status == 422
        assert api.deliver() == []

    def test_fifty_times_sends_five_letters_and_the_last_link_works(self, api: Api) -> None:
        api.verified()
        assert [api.ask_for_reset().status for _ in range(50)] == [202] * 50
        letters = api.deliver()
        assert [kind_of(letter) for letter in letters] == ["password_reset"] * 5
        assert [api.reset(token_of(letter)).status for letter in letters] == [400, 400, 400, 400, 204]

    def test_too_often_is_over_as_soon_as_no_link_works(self, api: Api) -> None:
        """Or whoever asks for five an hour in the owner's name would close the reset for three quarters of it."""
        api.verified()
        for _ in range(5):
            api.ask_for_reset()
        sent = api.deliver()
        assert len(sent) == 5
        api.clock.advance(minutes=14, seconds=59)
        api.ask_for_reset()
        assert api.deliver() == [], "the last link works"
        api.clock.advance(minutes=1)
        assert refused(api, token_of(sent[-1]))
        assert api.reset(api.reset_token()).status == 204
        api.login(EMAIL, OTHER_PASSWORD)

    def test_too_often_is_over_as_soon_as_the_last_link_was_used(self, api: Api) -> None:
        api.verified()
        for _ in range(5):
            api.ask_for_reset()
        assert api.reset(token_of(api.deliver()[-1])).status == 204
        assert api.reset(api.reset_token()).status == 204

    def test_too_often_holds_back_nobody_else_and_nothing_else(self, api: Api) -> None:
        api.verified()
        api.verified("ben@example.com")
        for _ in range(7):
            api.ask_for_reset()
        api.ask_for_reset("ben@example.com")
        api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD})
        letters = api.deliver()
        to = sorted((recipient_of(letter), kind_of(letter)) for letter in letters)
        assert to == [(EMAIL, "password_reset")] * 5 + [
            (EMAIL, "signup_attempted"),
            ("ben@example.com", "password_reset"),
        ]

    @pytest.mark.parametrize("mail", [MailSettings(mail_limit=2)])
    def test_the_limit_is_a_setting(self, api: Api) -> None:
        api.verified()
        for _ in range(4):
            api.ask_for_reset()
        assert len(api.deliver()) == 2

    def test_is_recorded_without_an_address(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        api.ask_for_reset("nobody@example.com")
        api.deliver()
        with api.engine.connect() as connection:
            rows = connection.execute(select(audit_events).where(audit_events.c.kind == "password_reset_requested"))
            found = [dict(row) for row in rows.mappings()]
        assert sorted(row["user_id"] is None for row in found) == [False, True]
        assert "@" not in str(found)


EVIL_HEADERS = (
    [("Host", "evil.example.net")],
    [("Host", "evil.example.net:8000"), ("X-Forwarded-Host", "evil.example.net")],
    [("X-Forwarded-Host", "evil.example.net"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "1")],
    [("X-Forwarded-Prefix", "/evil"), ("X-Script-Name", "/evil"), ("X-Original-URL", "/evil")],
    [("Forwarded", "for=1.2.3.4;host=evil.example.net;proto=https")],
    [("X-Forwarded-Server", "evil"), ("X-Host", "evil.example.net"), ("X-HTTP-Host-Override", "evil")],
    [("Origin", "https://evil.example.net"), ("Referer", "https://evil.example.net/")],
)

LANGUAGES = (
    ("de", "de"),
    ("de-AT, en;q=0.5", "de"),
    ("DE", "de"),
    ("DE-CH,fr", "de"),
    ("fr, de;q=0.2", "de"),
    ("en;q=0.1, de;q=0.9", "de"),
    ("de;q=0, en", "en"),
    ("fr", "en"),
    ("", "en"),
    ("*", "en"),
    ("../../etc/passwd", "en"),
    ("de_DE.UTF-8@euro", "en"),
    ("x" * 8000, "en"),
    (";;;,,,=q", "en"),
    ("{{7*7}}<script>", "en"),
    ("\u00e9\u00e8".encode().decode("latin-1"), "en"),
)


class TestTheLetter:
    def test_says_who_asked_for_what_and_how_long_it_works(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        letter = api.letter("password_reset")
        assert letter["Subject"] == "Set a new password"
        assert letter["From"] == "Twinauth <no-reply@localhost>"
        assert letter["To"] == EMAIL
        assert (letter["Cc"], letter["Bcc"], letter["Reply-To"]) == (None, None, None)
        assert letter["Auto-Submitted"] == "auto-generated"
        assert "15 minutes" in text_of(letter)
        assert EMAIL in text_of(letter)

    def test_has_the_token_in_the_fragment_alone(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        letter = api.letter("password_reset")
        parts = urlsplit(link_of(letter))
        token = token_of(letter)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "http://127.0.0.1:8000/reset-password"
        assert (parts.query, parts.fragment) == ("", f"token={token}")
        assert text_of(letter).count(token) == 1
        assert f'href="{link_of(letter)}"' in html_of(letter)
        assert not [name for name, value in letter.items() if token in str(value)]

    @pytest.mark.parametrize("trusted", [False, True])
    def test_links_to_the_public_url_whatever_the_request_says(
        self, service: Service, loop: asyncio.AbstractEventLoop, *, trusted: bool
    ) -> None:
        proxies = ("127.0.0.0/8",) if trusted else ()
        public = HttpSettings(public_url="https://auth.example.com/a", trusted_proxies=proxies)
        there = open_service(service.store, loop, http=public, mail=MailSettings(mail_limit=100))
        there.api("flask").verified()
        for headers, framework in product(EVIL_HEADERS, FRAMEWORKS):
            api = there.api(framework)
            api.clock.advance(seconds=1)
            assert api.ask_for_reset(headers=headers).status == 202
            letter = api.letter("password_reset")
            assert link_of(letter).startswith("https://auth.example.com/a/reset-password#token=twm_"), headers
            assert "evil" not in letter.as_string() + text_of(letter) + html_of(letter)

    @pytest.mark.parametrize("mail", [MailSettings(mail_limit=100)])
    def test_is_in_the_language_of_who_asked(self, api: Api) -> None:
        api.verified()
        for accept, language in LANGUAGES:
            api.clock.advance(seconds=1)
            assert api.ask_for_reset(headers=[("Accept-Language", accept)]).status == 202
            letter = api.letter("password_reset")
            assert letter["Content-Language"] == language, accept
            assert letter["Subject"] == {"en": "Set a new password", "de": "Neues Passwort setzen"}[language]
            assert f'<html lang="{language}">' in html_of(letter)

    def test_comes_later_when_the_mail_server_is_down_and_no_answer_tells(self, api: Api) -> None:
        api.verified()
        api.mailer.failure = MailError("away")
        assert api.ask_for_reset().status == 202
        assert api.ask_for_reset("nobody@example.com").status == 202
        assert api.deliver() == []
        (refused,) = api.mailer.refused
        api.mailer.failure = None
        assert api.deliver() == [], "it is not tried again at once"
        api.clock.advance(seconds=5)
        letter = api.letter("password_reset")
        assert letter["Message-ID"] == refused["Message-ID"]
        assert token_of(letter) == token_of(refused)
        assert api.reset(token_of(letter)).status == 204

    def test_is_not_sent_again_when_its_link_was_used_meanwhile(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        # The server took it, and its answer was lost.
        api.mailer.failure = MailError("timeout")
        api.deliver()
        (taken,) = api.mailer.refused
        assert api.reset(token_of(taken)).status == 204
        api.mailer.failure = None
        api.clock.advance(minutes=1)
        assert kinds(api) == ["password_changed"]


class TestResetting:
    def test_sets_the_password_and_logs_nobody_in(self, api: Api) -> None:
        api.verified()
        answer = api.reset(api.reset_token())
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("Set-Cookie") is None
        assert answer.header("Content-Type") is None
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401
        api.login(EMAIL, OTHER_PASSWORD)

    def test_ends_every_session_at_once(self, api: Api) -> None:
        pairs = [api.signed_in(), api.login(), api.login()]
        assert api.reset(api.reset_token()).status == 204
        for pair in pairs:
            assert api.whoami(pair["access_token"]).status == 401
            assert api.refresh(pair["refresh_token"]).status == 401
        (only,) = api.get("/v1/sessions", token=api.login(EMAIL, OTHER_PASSWORD)["access_token"]).json["items"]
        assert only["current"]

    def test_verifies_the_address(self, api: Api) -> None:
        token = api.signed_in()["access_token"]
        assert api.whoami(token).json["email_verified"] is False
        assert api.reset(api.reset_token()).status == 204
        user = api.whoami(api.login(EMAIL, OTHER_PASSWORD)["access_token"]).json
        assert (user["email_verified"], user["updated_at"]) == (True, "2026-11-21T09:30:01Z")

    def test_takes_the_account_back_from_who_signed_up_with_an_address_not_their_own(self, api: Api) -> None:
        pair = api.signed_in()
        verification = api.verification_token()
        change = api.ask_for_change(pair["access_token"], "thief@example.net")
        assert change.status == 202
        theft = token_of(api.letter("email_change"))
        assert api.reset(api.reset_token()).status == 204
        assert api.whoami(pair["access_token"]).status == 401
        assert api.refresh(pair["refresh_token"]).status == 401
        assert api.verify(verification).status == 400
        assert api.verify(theft).status == 400
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401

    def test_tells_the_owner(self, api: Api) -> None:
        api.verified()
        assert api.reset(api.reset_token()).status == 204
        notice = api.letter("password_changed")
        assert recipient_of(notice) == EMAIL
        assert notice["Subject"] == "Your password was changed"
        assert "127.0.0.1" in text_of(notice)
        assert "http" not in text_of(notice)

    def test_works_without_any_other_credential_and_whatever_stands_beside_it(self, api: Api) -> None:
        api.verified()
        body = {"token": api.reset_token(), "new_password": OTHER_PASSWORD}
        answer = api.post("/v1/reset-password", body, headers=[("Authorization", "Bearer junk")])
        assert answer.status == 204


def refused(api: Api, token: str) -> bool:
    """Whether the token is worth nothing: it is refused in the one form, and the password stays."""
    answer = api.reset(token)
    assert answer.header("Content-Type") == ("application/problem+json" if answer.status == 400 else None)
    return (answer.status, answer.json["code"]) == (400, "invalid_reset_token") if answer.body else False


REFUSED_PASSWORDS: tuple[tuple[object, str], ...] = (
    ("too short", "password_too_short"),
    ("passwordpassword", "password_too_common"),
    (f"hello, {EMAIL}", "password_contains_email"),
    ("x" * 129, "too_long"),
    ("", "too_short"),
    (None, "wrong_type"),
)
NO_TOKENS: tuple[tuple[object, str], ...] = (
    (None, "wrong_type"),
    (1, "wrong_type"),
    (True, "wrong_type"),
    (["twm_x"], "wrong_type"),
    ({"$ne": None}, "wrong_type"),
)


def other_spellings(token: str) -> tuple[str, ...]:
    return (
        token[:-1],
        token + "A",
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token + "=",
        token + "\n",
        " " + token,
        token.removeprefix("twm_"),
        "TWM_" + token[4:],
        "twr_" + token[4:],
        token[:4] + token[4:].swapcase(),
        f"{token},{token}",
        token.replace("_", "\uff3f", 1),
        token + "\u0000",
        "' OR 1=1 --",
        "%",
        "x" * 512,
        "x" * 10_000,
        "",
        "\U0010ffff",
    )


class TestTheToken:
    def test_works_once(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        assert api.reset(token).status == 204
        assert api.reset(token, "and now a third sentence").json["code"] == "invalid_reset_token"
        api.login(EMAIL, OTHER_PASSWORD)

    def test_is_refused_in_one_form(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        api.reset(token)
        used, junk = (
            api.post(
                "/v1/reset-password",
                {"token": each, "new_password": OTHER_PASSWORD},
                headers=[("X-Request-ID", "r")],
            )
            for each in (token, "twm_" + "A" * 32)
        )
        assert used.json == {
            "type": "/problems/invalid_reset_token",
            "title": used.json["title"],
            "status": 400,
            "detail": "The link is expired, already used, or replaced by a newer one.",
            "code": "invalid_reset_token",
            "request_id": "r",
        }
        assert (used.body, fields_of(used)) == (junk.body, fields_of(junk))
        assert token not in used.body.decode()
        assert api.get(used.json["type"]).status == 200

    def test_works_for_fifteen_minutes_from_the_sending_on(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        api.clock.advance(hours=2)
        token = token_of(api.letter("password_reset"))
        api.clock.advance(minutes=14, seconds=59.999)
        assert api.reset(token).status == 204

    def test_is_dead_after_fifteen_minutes(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        api.clock.advance(minutes=15)
        assert refused(api, token)
        api.login(EMAIL, PASSWORD)

    def test_is_dead_when_a_newer_one_was_sent(self, api: Api) -> None:
        api.verified()
        older = api.reset_token()
        newer = api.reset_token()
        assert older != newer
        assert refused(api, older)
        assert api.reset(newer).status == 204

    def test_of_somebody_else_outlives_it(self, api: Api) -> None:
        api.verified()
        api.verified("ben@example.com")
        mine, other = api.reset_token(), api.reset_token("ben@example.com")
        assert api.reset(mine).status == 204
        assert api.reset(other).status == 204
        api.login("ben@example.com", OTHER_PASSWORD)

    def test_is_dead_after_a_change_of_password(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert api.post("/v1/account/password", body, token=api.login()["access_token"]).status == 204
        assert refused(api, token)

    @pytest.mark.parametrize("asked_as", [EMAIL, "ANN@example.com"])
    def test_asked_for_before_a_change_of_password_is_not_sent_after_it(self, api: Api, asked_as: str) -> None:
        """Mail was slow: who asked for it may be whom the owner has just shut out."""
        api.verified()
        pair = api.login()
        assert api.ask_for_reset(asked_as).status == 202
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert api.post("/v1/account/password", body, token=pair["access_token"]).status == 204
        assert kinds(api) == ["password_changed"]
        api.clock.advance(seconds=1)
        assert api.reset(api.reset_token(), PASSWORD).status == 204

    def test_of_others_is_sent_after_a_change_of_password(self, api: Api) -> None:
        api.verified()
        api.verified("ben@example.com")
        assert api.ask_for_reset("ben@example.com").status == 202
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert api.post("/v1/account/password", body, token=api.login()["access_token"]).status == 204
        assert kinds(api) == ["password_changed", "password_reset"]

    def test_asked_for_twice_is_not_sent_after_the_first_was_used(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        assert api.ask_for_reset().status == 202
        assert api.reset(token).status == 204
        assert kinds(api) == ["password_changed"]

    def test_is_dead_after_a_change_of_address(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        assert api.ask_for_change(api.login()["access_token"]).status == 202
        assert api.verify(token_of(api.letter("email_change"))).status == 204
        assert refused(api, token)
        api.login(OTHER_EMAIL, PASSWORD)

    def test_is_dead_when_the_account_was_deactivated(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        api.deactivate()
        assert refused(api, token)
        with api.engine.connect() as connection:
            ended = connection.scalar(select(email_tokens.c.ended_at).where(email_tokens.c.purpose == "password_reset"))
        assert ended is None, "what is refused is undone as a whole"

    def test_survives_passwords_that_are_refused(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        for new_password, code in REFUSED_PASSWORDS:
            answer = api.post("/v1/reset-password", {"token": token, "new_password": new_password})
            assert answer.status == 422
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("/new_password", code)]
            assert token not in answer.body.decode()
        assert api.reset(token).status == 204

    def test_survives_an_overload(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        api.verified()
        token = api.reset_token()

        def full(_: str) -> str:
            raise Overloaded

        with monkeypatch.context() as patched:
            patched.setattr(api.auth.password_reset._passwords, "hash", full)
            answer = api.reset(token)
            assert (answer.status, answer.json["code"], answer.header("Retry-After")) == (503, "overloaded", "1")
        assert api.reset(token).status == 204

    def test_that_is_worth_nothing_costs_no_hash(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def explode(_: str) -> str:
            raise AssertionError("a password was hashed")

        monkeypatch.setattr(api.auth.password_reset._passwords, "hash", explode)
        assert refused(api, "twm_" + "A" * 32)

    def test_of_another_type_is_invalid_input(self, api: Api) -> None:
        for token, code in NO_TOKENS:
            answer = api.post("/v1/reset-password", {"token": token, "new_password": OTHER_PASSWORD})
            assert answer.status == 422
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("/token", code)], token

    def test_in_any_other_spelling_is_none(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        for text in other_spellings(token):
            assert refused(api, text), text
        assert api.reset(token).status == 204

    def test_of_another_kind_is_none(self, api: Api) -> None:
        pair = api.signed_in()
        verification = api.verification_token()
        assert api.ask_for_change(pair["access_token"]).status == 202
        change = token_of(api.letter("email_change"))
        for other in (verification, change, pair["refresh_token"], pair["access_token"]):
            assert refused(api, other)
        api.login(EMAIL, PASSWORD)
        assert api.verify(change).status == 204

    def test_is_no_other_credential(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        assert api.whoami(token).json["code"] == "invalid_token"
        assert api.refresh(token).json["code"] == "invalid_refresh_token"
        assert api.verify(token).json["code"] == "invalid_verification_token"
        assert api.post("/v1/login", {"email": EMAIL, "password": token}).status == 401
        form = {"grant_type": "refresh_token", "refresh_token": token}
        assert api.post("/v1/token", form=form).json["error"] == "invalid_grant"
        assert api.reset(token).status == 204, "none of that has cost it anything"

    def test_in_the_url_is_none(self, api: Api) -> None:
        api.verified()
        token = api.reset_token()
        answer = api.post(f"/v1/reset-password?token={token}", {"new_password": OTHER_PASSWORD})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/token")
        assert api.send("GET", f"/v1/reset-password?token={token}").status == 405

    def test_is_stored_nowhere(self, api: Api) -> None:
        api.verified()
        api.ask_for_reset()
        api.mailer.failure = MailError("away")
        api.deliver()
        (letter,) = api.mailer.refused
        token = token_of(letter)
        with api.engine.connect() as connection:
            rows = [repr(tuple(row)) for table in (outbox, email_tokens) for row in connection.execute(select(table))]
        assert len(rows) >= 3
        assert not [row for row in rows if token in row or token[4:] in row]

    def test_and_the_address_are_never_logged(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        api.verified()
        token = api.reset_token()
        assert api.reset(token).status == 204
        assert refused(api, token)
        api.mailer.failure = MailError("away")
        api.deliver()
        logged = [str(vars(record)) for record in caplog.records]
        assert {"mail sent", "mail not sent", "request"} <= {record.getMessage() for record in caplog.records}
        assert not [line for line in logged if token in line or token[4:] in line or EMAIL in line]


@pytest.mark.parametrize("order", [FRAMEWORKS, FRAMEWORKS[::-1]], ids=lambda order: f"{order[0]} first")
def test_a_link_asked_for_at_one_door_is_used_at_the_other(service: Service, order: tuple[str, str]) -> None:
    here, there = map(service.api, order)
    pair = here.signed_in()
    token = here.reset_token()
    assert there.reset(token).status == 204
    assert refused(here, token)
    for door in (here, there):
        assert door.whoami(pair["access_token"]).status == 401
        assert door.refresh(pair["refresh_token"]).status == 401
    here.login(EMAIL, OTHER_PASSWORD)
