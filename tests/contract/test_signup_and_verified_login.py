"""What changes where only verified addresses may log in (``AUTH_REQUIRE_VERIFIED_EMAIL``)."""

from typing import Any

import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from core.authentication.errors import Overloaded
from core.mail.transports import recipient_of, text_of
from core.settings.groups import MailSettings
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, token_of
from tests.support.parity import fields_of
from tests.support.services import FRAMEWORKS, Service, on_one_database

pytestmark = on_one_database


STRICT = MailSettings(require_verified_email=True)


@pytest.fixture
def mail() -> MailSettings:
    return STRICT


def sign_up(api: Api, email: str = EMAIL, password: str = PASSWORD) -> None:
    answer = api.post("/v1/signup", {"email": email, "password": password})
    assert (answer.status, answer.json) == (202, {"message": "A message is on its way to this address."})


def log_in(api: Api, password: str = PASSWORD, email: str = EMAIL) -> tuple[int, str | None]:
    answer = api.post("/v1/login", {"email": email, "password": password})
    return answer.status, answer.json.get("code")


def kinds(api: Api) -> list[str]:
    return [kind_of(letter) for letter in api.deliver()]


def stored(api: Api) -> list[dict[str, Any]]:
    with api.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(users)).mappings()]


class TestSigningUp:
    def test_answers_the_same_for_a_new_and_a_known_address(self, api: Api) -> None:
        answers = []
        for password in (PASSWORD, OTHER_PASSWORD):
            answers.append(
                api.post("/v1/signup", {"email": EMAIL, "password": password}, headers=[("X-Request-ID", "r")])
            )
            api.deliver()
        for answer in answers:
            assert (answer.status, answer.json) == (202, {"message": "A message is on its way to this address."})
            assert sorted((name.lower(), value) for name, value in answer.headers) == [
                ("cache-control", "no-store"),
                ("content-length", "54"),
                ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
                ("content-type", "application/json"),
                ("referrer-policy", "no-referrer"),
                ("x-content-type-options", "nosniff"),
                ("x-request-id", "r"),
            ]

    @pytest.mark.parametrize("state", ["verified", "inactive"])
    def test_answers_the_same_for_an_account_in_any_state(self, api: Api, state: str) -> None:
        sign_up(api)
        assert api.verify(api.verification_token()).status == 204
        if state == "inactive":
            api.deactivate()
        sign_up(api)
        assert kinds(api) == ([] if state == "inactive" else ["signup_attempted"])

    def test_sends_a_new_owner_a_link(self, api: Api) -> None:
        sign_up(api)
        assert api.verify(api.verification_token()).status == 204
        assert log_in(api)[0] == 200

    @pytest.mark.parametrize("spelling", [EMAIL, "ANN@EXAMPLE.COM"])
    def test_changes_nothing_of_an_account_and_tells_its_owner(self, api: Api, spelling: str) -> None:
        sign_up(api)
        assert api.verify(api.verification_token()).status == 204
        before = stored(api)
        body = {"email": spelling, "password": OTHER_PASSWORD, "display_name": "Eve"}
        assert api.post("/v1/signup", body).status == 202
        assert stored(api) == before
        letter = api.letter("signup_attempted")
        assert recipient_of(letter) == EMAIL
        for text in (letter.as_string(), text_of(letter)):
            assert "twm_" not in text
            assert "Eve" not in text
        assert log_in(api)[0] == 200
        assert log_in(api, OTHER_PASSWORD) == (401, "invalid_credentials")

    def test_a_second_time_before_the_first_was_verified_gives_the_account_to_nobody_else(self, api: Api) -> None:
        sign_up(api, password=OTHER_PASSWORD)
        token = api.verification_token()
        sign_up(api, password=PASSWORD)
        assert kinds(api) == ["signup_attempted"]
        assert api.verify(token, PASSWORD).status == 403
        assert api.verify(token, OTHER_PASSWORD).status == 204
        assert log_in(api, OTHER_PASSWORD)[0] == 200
        assert log_in(api, PASSWORD)[0] == 401

    def test_too_often_tells_the_owner_five_times_an_hour(self, api: Api) -> None:
        for _ in range(20):
            sign_up(api)
        assert sorted(kinds(api)) == ["email_verification"] + ["signup_attempted"] * 5

    def test_refuses_bad_input_as_ever(self, api: Api) -> None:
        sign_up(api)
        api.deliver()
        for email in (EMAIL, "new@example.com"):
            answer = api.post("/v1/signup", {"email": email, "password": "too short"})
            assert (answer.status, answer.json["errors"][0]["code"]) == (422, "password_too_short")
        assert kinds(api) == []

    def test_is_overloaded_for_a_known_address_as_for_a_new_one(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sign_up(api)

        def full(_: str) -> str:
            raise Overloaded

        monkeypatch.setattr(api.auth.accounts._passwords, "hash", full)
        for email in (EMAIL, "new@example.com"):
            answer = api.post("/v1/signup", {"email": email, "password": PASSWORD})
            assert (answer.status, answer.json["code"]) == (503, "overloaded")


class TestLoggingIn:
    def test_unverified_is_refused_and_sends_a_new_link(self, api: Api) -> None:
        sign_up(api)
        older = api.verification_token()
        api.clock.advance(seconds=1)
        answer = api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}, headers=[("X-Request-ID", "r")])
        assert answer.json == {
            "type": "/problems/email_not_verified",
            "title": answer.json["title"],
            "status": 403,
            "detail": "The e-mail address is not verified yet. A new link is on its way to it.",
            "code": "email_not_verified",
            "request_id": "r",
        }
        assert (answer.status, answer.header("Content-Type")) == (403, "application/problem+json")
        assert answer.header("WWW-Authenticate") is None
        assert api.get(answer.json["type"]).status == 200
        newer = api.verification_token()
        assert api.verify(older).status == 400
        assert api.verify(newer).status == 204
        assert log_in(api)[0] == 200

    def test_with_a_wrong_password_does_not_tell_that_it_is_unverified(self, api: Api) -> None:
        sign_up(api)
        api.deliver()
        headers = [("X-Request-ID", "r")]
        answers = [
            api.post("/v1/login", {"email": email, "password": OTHER_PASSWORD}, headers=headers)
            for email in (EMAIL, "nobody@example.com")
        ]
        assert [(answer.status, answer.json["code"]) for answer in answers] == [(401, "invalid_credentials")] * 2
        assert answers[0].body == answers[1].body
        assert fields_of(answers[0]) == fields_of(answers[1])
        assert kinds(api) == []

    def test_inactive_and_unverified_is_refused_as_unknown(self, api: Api) -> None:
        sign_up(api)
        api.deactivate()
        assert log_in(api) == (401, "invalid_credentials")
        assert kinds(api) == []

    def test_too_often_sends_five_links_an_hour(self, api: Api) -> None:
        sign_up(api)
        for _ in range(20):
            api.clock.advance(seconds=1)
            assert log_in(api) == (403, "email_not_verified")
        letters = api.deliver()
        assert [kind_of(letter) for letter in letters] == ["email_verification"] * 5, "that of the signup included"
        assert api.verify(token_of(letters[-1])).status == 204

    def test_unverified_starts_no_session(self, api: Api) -> None:
        sign_up(api)
        log_in(api)
        assert api.verify(api_token(api)).status == 204
        token = api.login()["access_token"]
        assert len(api.get("/v1/sessions", token=token).json["items"]) == 1

    def test_unverified_is_recorded_as_a_failure(self, api: Api) -> None:
        sign_up(api)
        log_in(api)
        with api.engine.connect() as connection:
            found = connection.execute(select(audit_events.c.kind, audit_events.c.user_id)).all()
        assert sorted(kind for kind, _ in found) == ["login_failed", "signed_up"]
        assert len({user_id for _, user_id in found}) == 1

    def test_works_after_a_reset_which_proves_the_address_as_well(self, api: Api) -> None:
        sign_up(api)
        assert log_in(api) == (403, "email_not_verified")
        assert api.reset(api.reset_token()).status == 204
        assert log_in(api, OTHER_PASSWORD)[0] == 200

    def test_with_an_address_that_was_changed_works(self, api: Api) -> None:
        sign_up(api)
        assert api.verify(api.verification_token()).status == 204
        assert api.ask_for_change(api.login()["access_token"]).status == 202
        assert api.verify(token_of(api.letter("email_change"))).status == 204
        assert log_in(api, email="ann@example.org")[0] == 200


def api_token(api: Api) -> str:
    """The token of the newest link."""
    return token_of(api.deliver()[-1])


class TestTheTokenEndpoint:
    def test_refuses_the_unverified_in_its_own_form_and_sends_a_link(self, api: Api) -> None:
        sign_up(api)
        api.deliver()
        api.clock.advance(seconds=1)
        answer = api.post("/v1/token", form={"grant_type": "password", "username": EMAIL, "password": PASSWORD})
        assert answer.status == 400
        assert answer.json == {
            "error": "invalid_grant",
            "error_description": "The e-mail address is not verified yet. A new link is on its way to it.",
        }
        assert api.verify(api.verification_token()).status == 204
        answer = api.post("/v1/token", form={"grant_type": "password", "username": EMAIL, "password": PASSWORD})
        assert answer.status == 200

    def test_does_not_tell_it_to_who_does_not_know_the_password(self, api: Api) -> None:
        sign_up(api)
        api.deliver()
        answers = [
            api.post("/v1/token", form={"grant_type": "password", "username": email, "password": OTHER_PASSWORD})
            for email in (EMAIL, "nobody@example.com")
        ]
        assert [answer.status for answer in answers] == [400, 400]
        assert answers[0].json == answers[1].json
        assert kinds(api) == []


@pytest.mark.parametrize("order", [FRAMEWORKS, FRAMEWORKS[::-1]], ids=lambda order: f"{order[0]} first")
def test_a_signup_at_one_door_is_verified_and_logged_in_at_the_other(service: Service, order: tuple[str, str]) -> None:
    here, there = map(service.api, order)
    sign_up(here)
    assert log_in(there) == (403, "email_not_verified")
    assert here.verify(api_token(there)).status == 204
    assert log_in(there)[0] == 200
