"""POST /v1/send-email-verification and POST /v1/verify-email of the address that an account has."""

from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select

from core.audit.sql import audit_events
from core.mail.transports import MailError, recipient_of, text_of
from core.settings.groups import MailSettings
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, link_of, token_of
from tests.support.parity import fields_of
from tests.support.services import FRAMEWORKS, Service, on_one_database

pytestmark = on_one_database


def ask(api: Api, token: str) -> int:
    api.clock.advance(seconds=1)
    answer = api.post("/v1/send-email-verification", token=token)
    assert answer.body == b"" or answer.status != 202
    return answer.status


def refused(api: Api, token: str) -> bool:
    answer = api.verify(token)
    return (answer.status, answer.json["code"]) == (400, "invalid_verification_token") if answer.body else False


def is_verified(api: Api) -> bool:
    verified: bool = api.whoami(api.login()["access_token"]).json["email_verified"]
    return verified


class TestTheLetter:
    def test_goes_to_the_address_that_was_signed_up_with(self, api: Api) -> None:
        api.signup("Ann.O'Neil+tag@Example.com")
        letter = api.letter("email_verification")
        assert recipient_of(letter) == "Ann.O'Neil+tag@example.com"
        assert letter["Subject"] == "Confirm your e-mail address"
        assert "24 hours" in text_of(letter)

    def test_leads_to_the_page_with_the_token_in_the_fragment(self, api: Api) -> None:
        api.signup()
        letter = api.letter("email_verification")
        parts = urlsplit(link_of(letter))
        assert f"{parts.scheme}://{parts.netloc}{parts.path}?{parts.query}" == "http://127.0.0.1:8000/verify-email?"
        assert parts.fragment == f"token={token_of(letter)}"

    def test_does_not_take_its_link_from_the_request(self, api: Api) -> None:
        body = {"email": EMAIL, "password": PASSWORD}
        headers = [("Host", "evil.example.net"), ("X-Forwarded-Host", "evil.example.net")]
        assert api.post("/v1/signup", body, headers=headers).status == 201
        letter = api.letter("email_verification")
        assert link_of(letter).startswith("http://127.0.0.1:8000/verify-email#")
        assert "evil" not in letter.as_string() + text_of(letter)

    def test_shows_nothing_that_whoever_signed_up_could_choose(self, api: Api) -> None:
        body = {"email": EMAIL, "password": PASSWORD, "display_name": "Win at https://evil.example.net"}
        assert api.post("/v1/signup", body, headers=[("User-Agent", "evil")]).status == 201
        letter = api.letter("email_verification")
        assert "evil" not in letter.as_string() + text_of(letter)

    def test_is_in_the_language_of_the_browser(self, api: Api) -> None:
        body = {"email": EMAIL, "password": PASSWORD}
        assert api.post("/v1/signup", body, headers=[("Accept-Language", "de-CH")]).status == 201
        assert api.letter("email_verification")["Subject"] == "Bestätigen Sie Ihre E-Mail-Adresse"

    def test_comes_once_however_often_the_relay_looks(self, api: Api) -> None:
        api.signup()
        assert len(api.deliver()) == 1
        api.clock.advance(hours=3)
        assert api.deliver() == []

    def test_comes_later_when_the_mail_server_is_down(self, api: Api) -> None:
        api.mailer.failure = MailError("away")
        api.signup()
        assert api.deliver() == []
        api.mailer.failure = None
        api.clock.advance(seconds=5)
        assert api.verify(api.verification_token()).status == 204

    def test_to_an_international_domain_has_its_ascii_form(self, api: Api) -> None:
        api.signup("ann@b\u00fccher.example")
        assert recipient_of(api.letter("email_verification")) == "ann@xn--bcher-kva.example"


class TestVerifying:
    def test_is_told_in_no_body_and_seen_in_the_account(self, api: Api) -> None:
        pair = api.signed_in()
        token = api.verification_token()
        api.clock.advance(seconds=5)
        answer = api.verify(token)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("Content-Type") is None
        user = api.whoami(pair["access_token"]).json
        assert (user["email_verified"], user["updated_at"]) == (True, "2026-11-21T09:30:05Z")

    def test_ends_no_session_and_tells_nobody(self, api: Api) -> None:
        pair = api.signed_in()
        assert api.verify(api.verification_token()).status == 204
        assert api.refresh(pair["refresh_token"]).status == 200
        assert api.deliver() == []

    def test_is_recorded(self, api: Api) -> None:
        api.verified()
        with api.engine.connect() as connection:
            kinds = connection.scalars(select(audit_events.c.kind).order_by(audit_events.c.kind))
            assert list(kinds) == ["email_verified", "signed_up"]


class TestAskingAgain:
    def test_needs_a_login(self, api: Api) -> None:
        assert ask(api, "junk") == 401
        assert api.post("/v1/send-email-verification").json["code"] == "missing_credentials"

    def test_sends_a_new_link_and_the_one_before_is_dead(self, api: Api) -> None:
        pair = api.signed_in()
        older = api.verification_token()
        assert ask(api, pair["access_token"]) == 202
        newer = api.verification_token()
        assert refused(api, older)
        assert not is_verified(api)
        assert api.verify(newer).status == 204
        assert is_verified(api)

    def test_sends_nothing_to_an_address_that_is_verified(self, api: Api) -> None:
        api.verified()
        assert ask(api, api.login()["access_token"]) == 202
        assert api.deliver() == []

    def test_sends_to_nobody_else(self, api: Api) -> None:
        api.signup("ben@example.com")
        pair = api.signed_in()
        api.deliver()
        assert ask(api, pair["access_token"]) == 202
        assert [recipient_of(letter) for letter in api.deliver()] == [EMAIL]

    def test_has_a_limit_an_hour(self, api: Api) -> None:
        pair = api.signed_in()
        api.clock.advance(seconds=1)
        assert [ask(api, pair["access_token"]) for _ in range(20)] == [202] * 20
        letters = api.deliver()
        assert [kind_of(letter) for letter in letters] == ["email_verification"] * 5, "the first one counts"
        assert [api.verify(token_of(letter)).status for letter in letters] == [400, 400, 400, 400, 204]

    @pytest.mark.parametrize("mail", [MailSettings(mail_limit=1)])
    def test_has_no_limit_in_common_with_password_resets(self, api: Api) -> None:
        api.signup()
        api.ask_for_reset()
        assert sorted(kind_of(letter) for letter in api.deliver()) == ["email_verification", "password_reset"]


NO_TOKENS: tuple[tuple[object, str], ...] = (
    (None, "wrong_type"),
    (1, "wrong_type"),
    ([], "wrong_type"),
)


class TestTheToken:
    def test_works_a_second_time_without_effect(self, api: Api) -> None:
        """Readers press twice, and an answer may be lost."""
        api.signup()
        token = api.verification_token()
        for password in (PASSWORD, OTHER_PASSWORD, None):
            assert api.verify(token, password).status == 204
        assert is_verified(api)
        with api.engine.connect() as connection:
            verified = select(func.count()).select_from(audit_events).where(audit_events.c.kind == "email_verified")
            assert connection.scalar(verified) == 1

    def test_works_no_second_time_after_its_life(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert api.verify(token).status == 204
        api.clock.advance(hours=24)
        assert refused(api, token)

    def test_works_for_a_day(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        api.clock.advance(hours=23, minutes=59, seconds=59.999)
        assert api.verify(token).status == 204

    def test_is_dead_after_a_day(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        api.clock.advance(hours=24)
        assert refused(api, token)
        assert not is_verified(api)

    def test_is_refused_in_one_form(self, api: Api) -> None:
        pair = api.signed_in()
        replaced = api.verification_token()
        assert ask(api, pair["access_token"]) == 202
        api.deliver()
        headers = [("X-Request-ID", "r")]
        answers = [
            api.post("/v1/verify-email", {"token": token}, headers=headers)
            for token in (replaced, "twm_" + "A" * 32, "x")
        ]
        assert answers[0].json == {
            "type": "/problems/invalid_verification_token",
            "title": answers[0].json["title"],
            "status": 400,
            "detail": "The link is expired, already used, or replaced by a newer one.",
            "code": "invalid_verification_token",
            "request_id": "r",
        }
        assert len({(answer.body, tuple(fields_of(answer))) for answer in answers}) == 1
        assert api.get(answers[0].json["type"]).status == 200

    def test_of_another_type_is_invalid_input(self, api: Api) -> None:
        for token, code in NO_TOKENS:
            answer = api.post("/v1/verify-email", {"token": token})
            assert answer.status == 422
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("/token", code)], token

    def test_in_any_other_spelling_is_none(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        other = "A" if token[-1] != "A" else "B"
        for text in (
            token[:-1],
            token + "A",
            token[:-1] + other,
            token + "\n",
            token.removeprefix("twm_"),
            token[:4] + token[4:].swapcase(),
            "' OR 1=1 --",
            "\U0010ffff",
        ):
            assert refused(api, text), text
        assert api.verify(token).status == 204

    def test_of_another_kind_is_none(self, api: Api) -> None:
        pair = api.signed_in()
        verification, reset = api.verification_token(), api.reset_token()
        for other in (reset, pair["refresh_token"]):
            assert refused(api, other)
        assert api.verify(pair["access_token"]).status in (400, 422), "a JWT may be longer than any token of a link"
        assert not is_verified(api)
        assert api.verify(verification).status == 204
        assert api.reset(reset).status == 204

    def test_is_no_other_credential(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert api.reset(token).json["code"] == "invalid_reset_token"
        assert api.whoami(token).json["code"] == "invalid_token"
        assert api.refresh(token).json["code"] == "invalid_refresh_token"
        assert api.verify(token).status == 204
        assert api.post("/v1/login", {"email": EMAIL, "password": OTHER_PASSWORD}).status == 401

    def test_verifies_nobody_else(self, api: Api) -> None:
        api.signup()
        mine = api.verification_token()
        api.signup("ben@example.com")
        assert api.verify(mine).status == 204
        ben = api.whoami(api.login("ben@example.com")["access_token"]).json
        assert ben["email_verified"] is False


@pytest.mark.parametrize("order", [FRAMEWORKS, FRAMEWORKS[::-1]], ids=lambda order: f"{order[0]} first")
def test_a_link_of_one_door_is_followed_at_the_other(service: Service, order: tuple[str, str]) -> None:
    here, there = map(service.api, order)
    here.signup()
    token = here.verification_token()
    assert there.verify(token).status == 204
    assert here.verify(token).status == 204
    assert is_verified(here)
