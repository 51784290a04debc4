"""POST /v1/undo-email-change: the owner of an address takes an account back that somebody else moved away from it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from core.mail.sql import email_tokens
from core.mail.transports import MailError, recipient_of, text_of
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, link_of, token_of
from tests.support.services import on_one_database

THIRD_EMAIL = "thief@example.net"


def moved(api: Api, pair: dict[str, Any], new_email: str = OTHER_EMAIL) -> None:
    """Change the address, as one who knows the password and reads the mail of the new one."""
    api.clock.advance(seconds=1)
    assert api.ask_for_change(pair["access_token"], new_email).status == 202
    assert api.verify(token_of(api.letter("email_change")), None).status == 204


def undo_link(api: Api) -> str:
    return token_of(api.letter("email_changed"))


def code_of(api: Api, token: str) -> tuple[int, str | None]:
    answer = api.undo_change(token)
    return answer.status, answer.json["code"] if answer.body else None


INVALID = (400, "invalid_undo_token")


def addresses(api: Api) -> list[str]:
    with api.engine.connect() as connection:
        return sorted(connection.scalars(select(users.c.email).where(users.c.deleted_at.is_(None))))


@pytest.fixture
def thief(api: Api) -> dict[str, Any]:
    """The tokens of somebody who knows the password of a verified account."""
    api.verified()
    return api.login()


@on_one_database
class TestTheNotice:
    def test_carries_a_link_of_seven_days_to_the_old_address(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        letter = api.letter("email_changed")
        assert recipient_of(letter) == EMAIL
        assert link_of(letter) == f"http://127.0.0.1:8000/undo-email-change#token={token_of(letter)}"
        assert "7 days" in text_of(letter)

    def test_to_an_address_that_was_never_verified_carries_none(self, api: Api) -> None:
        """It may be a stranger's, by a slip of the keyboard: the account is not theirs to take."""
        pair = api.signed_in()
        api.deliver()
        moved(api, pair)
        letter = api.letter("email_corrected")
        assert recipient_of(letter) == EMAIL
        assert "http" not in text_of(letter)


class TestUndoing:
    def test_gives_the_address_back_and_lets_nobody_in(self, api: Api, thief: dict[str, Any]) -> None:
        other = api.login()
        moved(api, thief)
        answer = api.undo_change(undo_link(api))
        assert (answer.status, answer.body) == (204, b"")
        assert addresses(api) == [EMAIL]
        for pair in (thief, other):
            assert api.whoami(pair["access_token"]).status == 401
            assert api.refresh(pair["refresh_token"]).status == 401
        for email in (EMAIL, OTHER_EMAIL):
            refused = api.post("/v1/login", {"email": email, "password": PASSWORD})
            assert (refused.status, refused.json["code"]) == (401, "invalid_credentials")

    def test_is_followed_by_a_reset_at_the_old_address_alone(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        assert api.undo_change(undo_link(api)).status == 204
        api.deliver()
        assert api.ask_for_reset(OTHER_EMAIL).status == 202
        assert api.deliver() == []
        assert api.reset(api.reset_token()).status == 204
        user = api.whoami(api.login(EMAIL, OTHER_PASSWORD)["access_token"]).json
        assert (user["email"], user["email_verified"]) == (EMAIL, True)

    def test_is_told_to_the_address_that_lost_the_account(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        assert api.undo_change(undo_link(api)).status == 204
        (letter,) = api.deliver()
        assert (kind_of(letter), recipient_of(letter)) == ("email_change_undone", OTHER_EMAIL)
        assert "http" not in text_of(letter)
        with api.engine.connect() as connection:
            assert "email_change_undone" in set(connection.scalars(select(audit_events.c.kind)))

    def test_works_whatever_was_done_to_the_account_since(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert api.post("/v1/account/password", body, token=thief["access_token"]).status == 204
        assert api.reset(api.reset_token(OTHER_EMAIL)).status == 204
        pair = api.login(OTHER_EMAIL, OTHER_PASSWORD)
        api.clock.advance(seconds=1)
        assert api.ask_for_change(pair["access_token"], THIRD_EMAIL, OTHER_PASSWORD).status == 202
        assert api.verify(token_of(api.letter("email_change")), None).status == 204
        assert code_of(api, undo) == (204, None)
        assert addresses(api) == [EMAIL]

    def test_revokes_the_links_that_were_sent_since(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        reset = api.reset_token(OTHER_EMAIL)
        api.clock.advance(seconds=1)
        assert api.ask_for_change(thief["access_token"], THIRD_EMAIL).status == 202
        change = token_of(api.letter("email_change"))
        assert api.undo_change(undo).status == 204
        assert api.reset(reset).status == 400
        assert api.verify(change, None).status == 400

    def test_of_the_first_change_ends_what_undoes_the_second(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        mine = undo_link(api)
        moved(api, thief, THIRD_EMAIL)
        theirs = undo_link(api)
        assert code_of(api, mine) == (204, None)
        assert code_of(api, theirs) == INVALID
        assert addresses(api) == [EMAIL]

    def test_of_the_second_change_leaves_what_undoes_the_first(self, api: Api, thief: dict[str, Any]) -> None:
        """Otherwise two changes in a row would keep the owner out."""
        moved(api, thief)
        mine = undo_link(api)
        moved(api, thief, THIRD_EMAIL)
        theirs = undo_link(api)
        assert code_of(api, theirs) == (204, None)
        assert addresses(api) == [OTHER_EMAIL]
        assert code_of(api, mine) == (204, None)
        assert addresses(api) == [EMAIL]

    def test_stops_a_notice_of_a_later_change_that_has_not_left(self, api: Api, thief: dict[str, Any]) -> None:
        """A mail server that puts letters off must not get its link after the undo."""
        moved(api, thief)
        mine = undo_link(api)
        moved(api, thief, THIRD_EMAIL)
        assert api.undo_change(mine).status == 204
        assert sorted(kind_of(letter) for letter in api.deliver()) == ["email_change_undone"]

    def test_of_the_second_change_does_not_stop_the_notice_of_the_first(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        api.mailer.failure = MailError("the mail server of the owner is away")
        assert api.deliver() == []
        api.mailer.failure = None
        moved(api, thief, THIRD_EMAIL)
        sent = {
            recipient_of(letter): token_of(letter) for letter in api.deliver() if kind_of(letter) == "email_changed"
        }
        assert api.undo_change(sent[OTHER_EMAIL]).status == 204
        api.clock.advance(minutes=1)
        sent |= {
            recipient_of(letter): token_of(letter) for letter in api.deliver() if kind_of(letter) == "email_changed"
        }
        assert code_of(api, sent[EMAIL]) == (204, None)
        assert addresses(api) == [EMAIL]


class TestTheOldAddress:
    def test_that_somebody_signed_up_with_meanwhile_comes_back(self, api: Api, thief: dict[str, Any]) -> None:
        """Otherwise whoever took the account would sign up with it, and keep it from its owner."""
        moved(api, thief)
        undo = undo_link(api)
        squatter = api.signed_in(EMAIL)
        assert code_of(api, undo) == (204, None)
        assert addresses(api) == [EMAIL]
        assert api.whoami(squatter["access_token"]).status == 401
        assert api.reset(api.reset_token()).status == 204
        assert api.login(EMAIL, OTHER_PASSWORD)

    def test_that_a_verified_account_has_meanwhile_stays_there(self, api: Api, thief: dict[str, Any]) -> None:
        """Only a reader of its mail can have verified it."""
        moved(api, thief)
        undo = undo_link(api)
        api.verified(EMAIL)
        assert code_of(api, undo) == INVALID
        assert addresses(api) == [EMAIL, OTHER_EMAIL]
        assert api.whoami(thief["access_token"]).status == 200

    def test_that_the_account_has_again_lets_it_be_taken_back(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        moved(api, thief, EMAIL)
        assert code_of(api, undo) == (204, None)
        assert addresses(api) == [EMAIL]
        assert api.whoami(thief["access_token"]).status == 401


@on_one_database
class TestTheToken:
    def test_works_for_seven_days(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        api.clock.advance(days=6, hours=23, minutes=59)
        api.auth.housekeeper.run_once()
        assert code_of(api, undo) == (204, None)

    def test_is_dead_after_seven_days_and_its_address_forgotten(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        api.clock.advance(days=7)
        assert code_of(api, undo) == INVALID
        api.auth.housekeeper.run_once()
        with api.engine.connect() as connection:
            assert EMAIL not in set(connection.scalars(select(email_tokens.c.address)))

    def test_works_a_second_time_without_effect(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        assert code_of(api, undo) == (204, None)
        assert api.reset(api.reset_token()).status == 204
        pair = api.login(EMAIL, OTHER_PASSWORD)
        assert code_of(api, undo) == (204, None)
        assert api.whoami(pair["access_token"]).status == 200

    def test_is_no_other_one(self, api: Api, thief: dict[str, Any]) -> None:
        api.clock.advance(seconds=1)
        assert api.ask_for_change(thief["access_token"]).status == 202
        change = token_of(api.letter("email_change"))
        for token in (change, api.reset_token(), thief["access_token"], "twm_" + "A" * 32, "x"):
            assert code_of(api, token) == INVALID
        assert api.verify(change, None).status == 204
        undo = undo_link(api)
        assert api.verify(undo).status == api.reset(undo).status == api.disown(undo).status == 400
        assert code_of(api, undo) == (204, None)

    def test_of_a_deactivated_account_is_none(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        api.deactivate(OTHER_EMAIL)
        assert code_of(api, undo) == INVALID
        assert addresses(api) == [OTHER_EMAIL]

    def test_goes_with_the_account(self, api: Api, thief: dict[str, Any]) -> None:
        moved(api, thief)
        undo = undo_link(api)
        body = {"current_password": PASSWORD}
        assert api.post("/v1/account/delete", body, token=thief["access_token"]).status == 204
        assert code_of(api, undo) == INVALID
