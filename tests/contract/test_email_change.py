"""POST /v1/account/email, and POST /v1/verify-email of a new address."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from core.authentication.errors import Overloaded
from core.mail.sql import outbox
from core.mail.transports import recipient_of, text_of
from core.sql_store import metadata
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, link_of, token_of
from tests.support.parity import fields_of
from tests.support.services import FRAMEWORKS, Service, on_one_database

pytestmark = on_one_database


@pytest.fixture
def ann(api: Api) -> dict[str, Any]:
    """Her tokens; she has verified her address, and the post is empty."""
    api.verified()
    return api.login()


def post(api: Api) -> list[tuple[str, str]]:
    """What is on its way, and to whom."""
    return sorted((kind_of(letter), recipient_of(letter)) for letter in api.deliver())


def asked(api: Api, token: str, new_email: str = OTHER_EMAIL) -> str:
    """Ask for a change a second after whatever was before, and give the token that went to the new address."""
    api.clock.advance(seconds=1)
    assert api.ask_for_change(token, new_email).status == 202
    letter = api.letter("email_change")
    assert recipient_of(letter) == new_email
    return token_of(letter)


def refused(api: Api, token: str) -> bool:
    answer = api.verify(token)
    return (answer.status, answer.json["code"]) == (400, "invalid_verification_token") if answer.body else False


INVALID_BODIES: tuple[tuple[dict[str, object], str, str], ...] = (
    ({}, "/new_email", "missing"),
    ({"new_email": "ann"}, "/new_email", "email_invalid"),
    ({"new_email": "ann@example.org\r\nBcc: eve@example.com"}, "/new_email", "email_invalid"),
    ({"new_email": "ann@example.org, eve@example.com"}, "/new_email", "email_invalid"),
    ({"new_email": "Ann <ann@example.org>"}, "/new_email", "email_invalid"),
    ({"new_email": "a" * 65 + "@example.org"}, "/new_email", "email_too_long"),
    ({"new_email": None}, "/new_email", "wrong_type"),
    ({"new_email": [OTHER_EMAIL]}, "/new_email", "wrong_type"),
    ({"new_email": OTHER_EMAIL, "current_password": None}, "/current_password", "wrong_type"),
    ({"new_email": OTHER_EMAIL, "email_verified": True}, "/email_verified", "unknown_member"),
    ({"new_email": OTHER_EMAIL, "user_id": 1}, "/user_id", "unknown_member"),
)


class TestAsking:
    def test_is_accepted_and_changes_nothing_yet(self, api: Api, ann: dict[str, Any]) -> None:
        before = api.whoami(ann["access_token"]).json
        answer = api.ask_for_change(ann["access_token"])
        assert (answer.status, answer.body, answer.header("Content-Type")) == (202, b"", None)
        api.deliver()
        assert api.whoami(ann["access_token"]).json == before
        api.login(EMAIL, PASSWORD)
        assert api.post("/v1/login", {"email": OTHER_EMAIL, "password": PASSWORD}).status == 401

    def test_sends_a_link_to_the_new_address_and_a_notice_to_the_old_one(self, api: Api, ann: dict[str, Any]) -> None:
        api.ask_for_change(ann["access_token"])
        link, notice = sorted(api.deliver(), key=kind_of)
        assert (kind_of(link), recipient_of(link)) == ("email_change", OTHER_EMAIL)
        assert link_of(link) == f"http://127.0.0.1:8000/verify-email#token={token_of(link)}"
        assert (kind_of(notice), recipient_of(notice)) == ("email_change_requested", EMAIL)
        assert "twm_" not in notice.as_string() + text_of(notice)
        assert "http" not in text_of(notice)

    def test_shows_neither_address_to_the_other(self, api: Api, ann: dict[str, Any]) -> None:
        api.ask_for_change(ann["access_token"])
        link, notice = sorted(api.deliver(), key=kind_of)
        assert EMAIL not in link.as_string() + text_of(link)
        assert OTHER_EMAIL not in notice.as_string() + text_of(notice)

    @pytest.mark.parametrize("token", [None, "junk"])
    def test_needs_a_login(self, api: Api, token: str | None) -> None:
        body = {"new_email": OTHER_EMAIL, "current_password": PASSWORD}
        assert api.post("/v1/account/email", body, token=token).status == 401

    def test_needs_the_current_password(self, api: Api, ann: dict[str, Any]) -> None:
        answer = api.ask_for_change(ann["access_token"], password=OTHER_PASSWORD)
        assert (answer.status, answer.json["code"]) == (403, "wrong_password")
        assert post(api) == []
        assert api.whoami(ann["access_token"]).status == 200

    def test_with_a_wrong_password_is_recorded(self, api: Api, ann: dict[str, Any]) -> None:
        api.ask_for_change(ann["access_token"], password=OTHER_PASSWORD)
        with api.engine.connect() as connection:
            kinds = list(connection.scalars(select(audit_events.c.kind)))
        assert "confirmation_failed" in kinds
        assert "email_change_requested" not in kinds

    def test_is_held_back_by_an_overload(self, api: Api, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> bool:
            raise Overloaded

        monkeypatch.setattr(api.auth.accounts._passwords, "verify", full)
        answer = api.ask_for_change(ann["access_token"])
        assert (answer.status, answer.json["code"]) == (503, "overloaded")
        assert post(api) == []

    def test_with_invalid_input_sends_nothing(self, api: Api, ann: dict[str, Any]) -> None:
        for body, pointer, code in INVALID_BODIES:
            answer = api.post("/v1/account/email", {"current_password": PASSWORD} | body, token=ann["access_token"])
            assert answer.status == 422, body
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)], body
            assert b"eve" not in answer.body
        assert post(api) == []

    def test_too_often_sends_five_links_an_hour_and_every_notice(self, api: Api, ann: dict[str, Any]) -> None:
        for number in range(8):
            api.clock.advance(seconds=1)
            assert api.ask_for_change(ann["access_token"], f"ann{number}@example.org").status == 202
        kinds = [kind_of(letter) for letter in api.deliver()]
        assert (kinds.count("email_change"), kinds.count("email_change_requested")) == (5, 8)


class TestConfirming:
    def test_gives_the_account_the_new_address(self, api: Api, ann: dict[str, Any]) -> None:
        answer = api.verify(asked(api, ann["access_token"]))
        assert (answer.status, answer.body) == (204, b"")
        user = api.whoami(ann["access_token"]).json
        assert (user["email"], user["email_verified"]) == (OTHER_EMAIL, True)
        assert user["updated_at"] == "2026-11-21T09:30:01Z"
        api.login(OTHER_EMAIL, PASSWORD)
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401

    def test_keeps_the_spelling_and_compares_without_it(self, api: Api, ann: dict[str, Any]) -> None:
        assert api.verify(asked(api, ann["access_token"], "Ann.B@example.org")).status == 204
        assert api.whoami(ann["access_token"]).json["email"] == "Ann.B@example.org"
        api.login("ann.b@EXAMPLE.org", PASSWORD)

    def test_ends_no_session(self, api: Api, ann: dict[str, Any]) -> None:
        other = api.login()
        assert api.verify(asked(api, ann["access_token"])).status == 204
        for pair in (ann, other):
            assert api.refresh(pair["refresh_token"]).status == 200

    def test_tells_the_old_address(self, api: Api, ann: dict[str, Any]) -> None:
        assert api.verify(asked(api, ann["access_token"])).status == 204
        (notice,) = api.deliver()
        assert (kind_of(notice), recipient_of(notice)) == ("email_changed", EMAIL)
        assert OTHER_EMAIL not in notice.as_string() + text_of(notice)

    def test_sends_everything_after_it_to_the_new_address(self, api: Api, ann: dict[str, Any]) -> None:
        assert api.verify(asked(api, ann["access_token"])).status == 204
        api.deliver()
        for email in (EMAIL, OTHER_EMAIL):
            assert api.ask_for_reset(email).status == 202
        assert post(api) == [("password_reset", OTHER_EMAIL)]

    def test_frees_the_old_address(self, api: Api, ann: dict[str, Any]) -> None:
        assert api.verify(asked(api, ann["access_token"])).status == 204
        assert api.signup(EMAIL)["id"] != api.whoami(ann["access_token"]).json["id"]

    def test_verifies_an_account_that_was_not(self, api: Api) -> None:
        pair = api.signed_in()
        verification = api.verification_token()
        assert api.verify(asked(api, pair["access_token"])).status == 204
        assert api.whoami(pair["access_token"]).json["email_verified"] is True
        assert refused(api, verification), "it speaks of an address that the account has no more"

    def test_may_change_the_spelling_of_the_own_address(self, api: Api, ann: dict[str, Any]) -> None:
        assert api.verify(asked(api, ann["access_token"], "Ann@example.com")).status == 204
        assert api.whoami(ann["access_token"]).json["email"] == "Ann@example.com"
        api.login(EMAIL, PASSWORD)

    def test_needs_no_login(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        assert api.post("/v1/logout", token=ann["access_token"]).status == 204
        assert api.verify(token).status == 204
        api.login(OTHER_EMAIL, PASSWORD)


STATES = ("free", "unverified", "verified", "inactive")


def somebody(api: Api, state: str, email: str = "ben@example.com") -> str:
    """An address that nobody has, or an account in some state."""
    if state == "free":
        return f"no-{email}"
    if state == "unverified":
        api.signup(email)
        api.deliver()
    else:
        api.verified(email)
    if state == "inactive":
        api.deactivate(email)
    return email


class TestAnAddressThatSomebodyHas:
    @pytest.mark.parametrize("spelling", ["ben@example.com", "BEN@example.com"])
    def test_is_told_to_its_owner_alone(self, api: Api, ann: dict[str, Any], spelling: str) -> None:
        api.verified("ben@example.com")
        headers = [("X-Request-ID", "r")]
        answers = [
            api.post(
                "/v1/account/email",
                {"new_email": email, "current_password": PASSWORD},
                token=ann["access_token"],
                headers=headers,
            )
            for email in (spelling, "nobody@example.org")
        ]
        assert (answers[0].status, answers[0].body) == (202, b"")
        assert fields_of(answers[0]) == fields_of(answers[1])
        assert post(api) == [
            ("email_change", "nobody@example.org"),
            ("email_change_requested", EMAIL),
            ("email_change_requested", EMAIL),
            ("signup_attempted", "ben@example.com"),
        ]

    def test_stays_with_its_owner(self, api: Api, ann: dict[str, Any]) -> None:
        api.verified("ben@example.com")
        api.ask_for_change(ann["access_token"], "ben@example.com")
        for letter in api.deliver():
            assert "twm_" not in text_of(letter)
        with api.engine.connect() as connection:
            seeds = connection.execute(select(outbox.c.id, outbox.c.seed).where(outbox.c.kind == "email_change")).all()
        assert [seed for _, seed in seeds] == [b""], "nothing is kept that would make its token"
        assert api.whoami(ann["access_token"]).json["email"] == EMAIL
        api.login("ben@example.com", PASSWORD)

    @pytest.mark.parametrize("state", STATES)
    def test_ends_an_earlier_link_as_any_other_does(self, api: Api, ann: dict[str, Any], state: str) -> None:
        """Or the link to a mailbox of one's own would tell who has an account."""
        wanted = somebody(api, state)
        first = asked(api, ann["access_token"])
        api.clock.advance(seconds=1)
        assert api.ask_for_change(ann["access_token"], wanted).status == 202
        api.deliver()
        assert refused(api, first)

    @pytest.mark.parametrize("state", STATES)
    def test_counts_as_any_other_does(self, api: Api, ann: dict[str, Any], state: str) -> None:
        for number in range(5):
            wanted = somebody(api, state, f"user{number}@example.com")
            api.clock.advance(seconds=1)
            assert api.ask_for_change(ann["access_token"], wanted).status == 202
        api.deliver()
        assert api.ask_for_change(ann["access_token"], "mine@example.org").status == 202
        assert post(api) == [("email_change_requested", EMAIL)]

    def test_of_a_deactivated_account_tells_nobody(self, api: Api, ann: dict[str, Any]) -> None:
        wanted = somebody(api, "inactive")
        api.ask_for_change(ann["access_token"], wanted)
        assert post(api) == [("email_change_requested", EMAIL)]

    def test_by_the_time_of_the_link_is_not_taken_away(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        ben = api.signup(OTHER_EMAIL)
        assert refused(api, token)
        assert api.whoami(ann["access_token"]).json["email"] == EMAIL
        assert api.whoami(api.login(OTHER_EMAIL)["access_token"]).json["id"] == ben["id"]
        assert ("email_changed", EMAIL) not in post(api)


class TestTheToken:
    def test_needs_no_proof_and_works_a_second_time_without_effect(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        assert [api.verify(token, None).status for _ in range(2)] == [204, 204]
        assert [kind_of(letter) for letter in api.deliver()] == ["email_changed"]

    def test_is_dead_after_a_day(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        api.clock.advance(hours=24)
        assert refused(api, token)

    def test_works_until_then(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        api.clock.advance(hours=23, minutes=59, seconds=59.999)
        assert api.verify(token).status == 204

    def test_is_dead_when_another_change_was_asked_for(self, api: Api, ann: dict[str, Any]) -> None:
        older = asked(api, ann["access_token"], "first@example.org")
        newer = asked(api, ann["access_token"], "second@example.org")
        assert refused(api, older)
        assert api.verify(newer).status == 204
        assert api.whoami(ann["access_token"]).json["email"] == "second@example.org"

    @pytest.mark.parametrize("by", ["changing the password", "a reset"])
    def test_is_stopped(self, api: Api, ann: dict[str, Any], by: str) -> None:
        token = asked(api, ann["access_token"])
        if by == "a reset":
            assert api.reset(api.reset_token()).status == 204
        else:
            body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
            assert api.post("/v1/account/password", body, token=ann["access_token"]).status == 204
        assert refused(api, token)
        api.login(EMAIL, OTHER_PASSWORD)

    def test_on_its_way_is_stopped_by_changing_the_password(self, api: Api, ann: dict[str, Any]) -> None:
        """The notice may be read before the link has left: the mail server of the new address was slow."""
        api.ask_for_change(ann["access_token"])
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        assert api.post("/v1/account/password", body, token=ann["access_token"]).status == 204
        sent = [letter for letter in api.deliver() if kind_of(letter) == "email_change"]
        assert all(refused(api, token_of(letter)) for letter in sent)
        assert api.whoami(ann["access_token"]).json["email"] == EMAIL

    def test_is_no_other_credential(self, api: Api, ann: dict[str, Any]) -> None:
        token = asked(api, ann["access_token"])
        assert api.reset(token).json["code"] == "invalid_reset_token"
        assert api.whoami(token).json["code"] == "invalid_token"
        assert api.verify(token).status == 204


def exported(api: Api, pair: dict[str, Any]) -> list[list[list[str | None]]]:
    """The last two messages and the last link in an export, but for their times.

    What was stored at one moment has no order.
    """
    found = api.get("/v1/account/export", token=pair["access_token"]).json
    messages = [[m["kind"], m["address"], "sent" if m["sent_at"] else "waits", m["ip"]] for m in found["messages"]]
    links = [[link["purpose"], link["address"], "over" if link["ended_at"] else "works"] for link in found["links"]]
    return [sorted(messages[-2:]), links[-1:]]


@pytest.mark.parametrize("state", STATES[1:])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_address_that_somebody_has_looks_in_an_export_like_any_other(
    service: Service, framework: str, state: str
) -> None:
    api = service.api(framework)
    api.verified()
    pair = api.login()
    seen = []
    for wanted in (somebody(api, "free"), somebody(api, state)):
        api.clock.advance(seconds=1)
        assert api.ask_for_change(pair["access_token"], wanted).status == 202
        waiting, _ = exported(api, pair)
        api.deliver()
        seen.append(json.loads(json.dumps([waiting, *exported(api, pair)]).replace(wanted, "them")))
    free, taken = seen
    assert taken == free
    assert free[2] == [["email_change", "them", "works"]]


def stored(api: Api) -> list[str]:
    with api.engine.connect() as connection:
        return sorted(connection.scalars(select(users.c.email)))


@pytest.mark.parametrize("order", [FRAMEWORKS, FRAMEWORKS[::-1]], ids=lambda order: f"{order[0]} first")
def test_a_change_asked_for_at_one_door_is_confirmed_at_the_other(service: Service, order: tuple[str, str]) -> None:
    here, there = map(service.api, order)
    here.verified()
    pair = here.login()
    assert there.verify(asked(here, pair["access_token"])).status == 204
    for door in (here, there):
        assert door.whoami(pair["access_token"]).json["email"] == OTHER_EMAIL


@pytest.mark.parametrize("spend", [lambda api: api.deliver(), lambda _: None], ids=["sent", "on its way"])
def test_no_new_address_is_kept_after_its_letter(api: Api, ann: dict[str, Any], spend: Callable[[Api], object]) -> None:
    api.ask_for_change(ann["access_token"])
    spend(api)
    with api.engine.connect() as connection:
        kept = connection.execute(select(outbox.c.sent_at, outbox.c.address, outbox.c.facts, outbox.c.seed)).all()
    for sent_at, address, facts, seed in kept:
        assert (address, facts, seed) == (None, {}, b"") if sent_at else address is not None


def _replaced(api: Api, ann: dict[str, Any], _token: str) -> None:
    assert api.ask_for_change(ann["access_token"], "third@example.org").status == 202
    api.deliver()


def _stopped(api: Api, ann: dict[str, Any], _token: str) -> None:
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    assert api.post("/v1/account/password", body, token=ann["access_token"]).status == 204


def _expired(api: Api, _ann: dict[str, Any], _token: str) -> None:
    api.clock.advance(hours=24)
    api.auth.housekeeper.run_once()


def _used(api: Api, ann: dict[str, Any], token: str) -> None:
    """And the address was changed once more, longer ago than that can be undone."""
    assert api.verify(token).status == 204
    assert api.verify(asked(api, ann["access_token"], "third@example.org")).status == 204
    api.deliver()
    api.clock.advance(days=7)
    api.auth.housekeeper.run_once()


@pytest.mark.parametrize("end", [_replaced, _stopped, _expired, _used])
def test_no_new_address_is_kept_after_its_link(
    api: Api, ann: dict[str, Any], end: Callable[[Api, dict[str, Any], str], None]
) -> None:
    token = asked(api, ann["access_token"])
    api.clock.advance(seconds=1)
    end(api, ann, token)
    assert refused(api, token)
    with api.engine.connect() as connection:
        rows = [connection.execute(select(table)).all() for table in metadata.sorted_tables]
    assert OTHER_EMAIL not in repr(rows)
