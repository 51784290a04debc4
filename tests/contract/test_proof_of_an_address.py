"""Whoever reads the mail of an address verifies no account that somebody else made with it.

A stranger signs up with the address of a victim. Whatever the victim does with the letters that follow, in whatever
order, the stranger is not inside an account with a verified address.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import func, select

from core.audit.sql import audit_events
from core.settings.groups import MailSettings
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, token_of
from tests.support.services import on_one_database

MODES = pytest.mark.parametrize(
    "mail", [MailSettings(), MailSettings(require_verified_email=True)], ids=["open", "verified"]
)
STRANGERS = PASSWORD  # the password that the stranger has chosen
VICTIMS = OTHER_PASSWORD


def code_of(api: Api, link: str, password: str | None = None, **more: Any) -> tuple[int, str | None]:
    answer = api.verify(link, password, **more)
    return answer.status, answer.json["code"] if answer.body else None


def stored(api: Api) -> dict[str, Any] | None:
    """The account of the address, if there is one."""
    with api.engine.connect() as connection:
        row = connection.execute(select(users).where(users.c.canonical_email == EMAIL)).mappings().one_or_none()
    return None if row is None else dict(row)


def is_verified(api: Api) -> bool:
    account = stored(api)
    return account is not None and bool(account["email_verified"])


def recorded(api: Api, kind: str) -> int:
    with api.engine.connect() as connection:
        found = select(func.count()).select_from(audit_events).where(audit_events.c.kind == kind)
        return connection.scalar(found) or 0


@on_one_database
class TestTheFirstVerification:
    def test_needs_more_than_the_link(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert code_of(api, token) == (403, "proof_required")
        assert not is_verified(api)

    def test_is_proved_by_a_session_of_the_account(self, api: Api) -> None:
        session = api.signed_in()["access_token"]
        assert code_of(api, api.verification_token(), token=session) == (204, None)
        assert is_verified(api)

    def test_is_proved_by_its_password(self, api: Api) -> None:
        api.signup()
        assert code_of(api, api.verification_token(), PASSWORD) == (204, None)
        assert is_verified(api)

    def test_is_proved_by_no_session_of_another_account(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        session = api.signed_in(OTHER_EMAIL)["access_token"]
        assert code_of(api, token, token=session) == (403, "proof_required")
        assert code_of(api, token, OTHER_PASSWORD, token=session) == (403, "wrong_password")
        assert not is_verified(api)
        assert code_of(api, token, PASSWORD, token=session) == (204, None)

    def test_is_proved_by_no_session_that_has_ended(self, api: Api) -> None:
        session = api.signed_in()["access_token"]
        token = api.verification_token()
        assert api.post("/v1/logout", token=session).status == 204
        assert code_of(api, token, PASSWORD, token=session) == (401, "invalid_token")
        assert not is_verified(api)

    def test_leaves_the_link_as_it_is_when_it_is_refused(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert code_of(api, token) == (403, "proof_required")
        assert code_of(api, token, OTHER_PASSWORD) == (403, "wrong_password")
        assert api.post("/v1/verify-email", {"token": token, "password": ""}).status == 422
        assert code_of(api, token, PASSWORD) == (204, None)

    def test_counts_wrong_passwords_as_a_login_does(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        answers = [code_of(api, token, OTHER_PASSWORD) for _ in range(6)]
        assert answers == [(403, "wrong_password")] * 5 + [(429, "too_many_attempts")]
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 429
        assert recorded(api, "confirmation_failed") == 5
        api.clock.advance(seconds=2)
        assert code_of(api, token, PASSWORD) == (204, None)

    def test_of_a_deactivated_account_is_none(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        api.deactivate()
        assert code_of(api, token) == code_of(api, token, PASSWORD) == (400, "invalid_verification_token")

    def test_of_a_link_that_is_none_asks_for_no_proof(self, api: Api) -> None:
        api.signup()
        assert code_of(api, "twm_" + "A" * 32) == (400, "invalid_verification_token")
        assert code_of(api, "twm_" + "A" * 32, OTHER_PASSWORD) == (400, "invalid_verification_token")
        assert recorded(api, "confirmation_failed") == 0

    def test_asks_for_none_where_a_reset_has_proved_it(self, api: Api) -> None:
        api.signup()
        assert api.reset(api.reset_token()).status == 204
        assert is_verified(api)


@on_one_database
class TestDisowning:
    def test_deletes_the_account_and_ends_its_sessions(self, api: Api) -> None:
        pair = api.signed_in()
        answer = api.disown(api.verification_token())
        assert (answer.status, answer.body) == (204, b"")
        assert stored(api) is None
        assert api.whoami(pair["access_token"]).status == 401
        assert api.refresh(pair["refresh_token"]).status == 401
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401

    def test_is_told_to_nobody_and_recorded(self, api: Api) -> None:
        api.signup()
        assert api.disown(api.verification_token()).status == 204
        assert api.deliver() == []
        assert recorded(api, "account_disowned") == 1

    def test_leaves_the_address_free(self, api: Api) -> None:
        api.signup()
        assert api.disown(api.verification_token()).status == 204
        api.signup(password=VICTIMS)
        assert api.verify(api.verification_token(), VICTIMS).status == 204

    def test_is_refused_where_the_address_was_verified(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert api.verify(token).status == 204
        for used in (token, "twm_" + "A" * 32, "x"):
            answer = api.disown(used)
            assert (answer.status, answer.json["code"]) == (400, "invalid_verification_token")
        assert is_verified(api)

    def test_is_refused_with_the_link_of_another_purpose(self, api: Api) -> None:
        session = api.signed_in()["access_token"]
        api.deliver()
        assert api.ask_for_change(session).status == 202
        change = token_of(api.letter("email_change"))
        for token in (change, api.reset_token(), session):
            assert api.disown(token).status == 400
        assert stored(api) is not None

    def test_works_once(self, api: Api) -> None:
        api.signup()
        token = api.verification_token()
        assert [api.disown(token).status for _ in range(2)] == [204, 400]


@on_one_database
class TestAReset:
    def test_of_an_account_that_was_never_verified_removes_what_was_there_before(self, api: Api) -> None:
        body = {"email": EMAIL, "password": STRANGERS, "display_name": "Call 0900 123"}
        assert api.post("/v1/signup", body).status == 201
        stranger = api.login()
        verification = api.verification_token()
        assert api.ask_for_change(stranger["access_token"], "thief@example.net").status == 202
        theft = token_of(api.letter("email_change"))
        assert api.reset(api.reset_token(), VICTIMS).status == 204
        user = api.whoami(api.login(EMAIL, VICTIMS)["access_token"]).json
        assert (user["email_verified"], user["display_name"]) == (True, None)
        assert api.post("/v1/login", {"email": EMAIL, "password": STRANGERS}).status == 401
        assert api.whoami(stranger["access_token"]).status == 401
        assert api.refresh(stranger["refresh_token"]).status == 401
        assert [api.verify(token, VICTIMS).status for token in (verification, theft)] == [400, 400]

    def test_of_a_verified_account_leaves_the_name(self, api: Api) -> None:
        assert api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD, "display_name": "Ann"}).status == 201
        assert api.verify(api.verification_token()).status == 204
        assert api.reset(api.reset_token()).status == 204
        assert api.whoami(api.login(EMAIL, OTHER_PASSWORD)["access_token"]).json["display_name"] == "Ann"


# The walk


class Victim:
    """The owner of the address, who presses whatever a letter or a page offers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._letters: dict[str, str] = {}

    def reads_mail(self) -> None:
        for letter in self._api.deliver():
            if kind_of(letter) in ("email_verification", "password_reset"):
                self._letters[kind_of(letter)] = token_of(letter)

    def confirms(self) -> None:
        """Press the button, and when a password is asked for, try one's own."""
        token = self._letters["email_verification"]
        self._api.verify(token, None)
        self._api.verify(token, VICTIMS)

    def resets(self) -> None:
        self._api.clock.advance(seconds=1)
        assert self._api.ask_for_reset().status == 202
        self.reads_mail()
        if "password_reset" in self._letters:  # none comes where the account is gone
            self._api.reset(self._letters.pop("password_reset"), VICTIMS)

    def signs_up(self) -> None:
        """Be told that there is an account already, or where it was disowned, make one."""
        self._api.post("/v1/signup", {"email": EMAIL, "password": VICTIMS})
        self.reads_mail()

    def disowns(self) -> None:
        self._api.disown(self._letters["email_verification"])


class Stranger:
    """Somebody who signed up with an address that is not theirs, and tries on and on."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tokens: list[str] = []

    def signs_up(self) -> None:
        self._api.post("/v1/signup", {"email": EMAIL, "password": STRANGERS, "display_name": "Eve"})

    def logs_in(self) -> None:
        answer = self._api.post("/v1/login", {"email": EMAIL, "password": STRANGERS})
        if answer.status == 200:
            self._tokens.append(answer.json["access_token"])

    def asks_for_another_link(self) -> None:
        self._api.clock.advance(seconds=1)
        for token in self._tokens:
            self._api.post("/v1/send-email-verification", token=token)

    def is_inside_a_verified_account(self) -> bool:
        """Whether a session of the stranger, or a new one, is of an account whose address is verified."""
        self._api.clock.advance(minutes=15)
        fresh = self._api.post("/v1/login", {"email": EMAIL, "password": STRANGERS})
        tokens = [*self._tokens, *([fresh.json["access_token"]] if fresh.status == 200 else [])]
        seen = [self._api.whoami(token) for token in tokens]
        return any(answer.status == 200 and answer.json["email_verified"] for answer in seen)


Step = Callable[[Victim], None]
STEPS: tuple[Step, ...] = (Victim.confirms, Victim.resets, Victim.signs_up, Victim.disowns)
ORDERS = list(permutations(STEPS))  # each begins with shorter ones, which are looked at as well


def name_of(order: tuple[Step, ...]) -> str:
    return ", ".join(step.__name__ for step in order)


@MODES
def test_in_whatever_order_the_letters_are_followed_the_stranger_is_not_inside(api: Api) -> None:
    inside = []
    for order in ORDERS:
        stranger, victim = Stranger(api), Victim(api)
        stranger.signs_up()
        stranger.logs_in()
        victim.reads_mail()
        for step in order:
            stranger.asks_for_another_link()
            victim.reads_mail()
            step(victim)
            if stranger.is_inside_a_verified_account():
                inside.append(name_of(order))
            if step is Victim.resets and stored(api) is not None:
                assert is_verified(api), name_of(order)
                api.login(EMAIL, VICTIMS)
        start_anew(api)
    assert inside == []


def start_anew(api: Api) -> None:
    """Remove what an order left, and let an hour pass, so that the limits of letters begin anew."""
    api.clock.advance(hours=25)
    with api.engine.begin() as connection:
        connection.execute(users.delete())
