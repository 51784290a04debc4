"""GET /v1/account/export and POST /v1/account/delete."""

import base64
import json
from typing import Any

import jwt
import pytest
from sqlalchemy import Table, func, select
from sqlalchemy.event import listen, remove

from core import housekeeping
from core.accounts import export as accounts_export
from core.accounts.export_schemas import AccountExport
from core.audit.sql import audit_events
from core.authentication.errors import Overloaded
from core.contract.operation import JSON
from core.mail.sql import email_tokens, outbox
from core.mail.transports import MailError, MailRefused, recipient_of
from core.sessions.sql import sessions
from core.settings.groups import ThrottleSettings
from core.sql_store import metadata
from core.tokens.model import hash_of
from core.users.sql import users
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.mail import kind_of, token_of
from tests.support.services import FRAMEWORKS, Service, on_one_database

OWNED = {table.name: table for table in metadata.sorted_tables if "user_id" in table.c}


@pytest.fixture(params=FRAMEWORKS)
def door(request: pytest.FixtureRequest, service: Service) -> Api:
    """A front door whose answers are not compared with the other's: rows of one instant have no order."""
    return service.api(request.param)


def live(api: Api) -> dict[str, Any]:
    """A whole life: everything that leaves a row behind. The tokens of the last login."""
    api.signup()
    api.deliver()
    first, second = api.login(), api.login()
    for _ in range(ThrottleSettings().throttle_account):  # until the throttle puts it down, in a row without a user
        api.post("/v1/login", {"email": EMAIL, "password": OTHER_PASSWORD})
    api.post("/v1/logout", token=first["access_token"])
    api.patch("/v1/account", {"display_name": "Ann"}, token=second["access_token"])
    api.reset_token()
    api.ask_for_change(second["access_token"])
    api.deliver()
    # Messages in every state: sent, tried, and asked for by an address alone.
    api.mailer.failure = MailError("away")
    api.clock.advance(seconds=1)
    api.post("/v1/send-email-verification", token=second["access_token"])
    api.deliver()
    api.ask_for_reset()
    return second


def rows_of(api: Api, table: Table, user_id: str) -> int:
    """How many rows name the user, or the address that is the user's."""
    with api.engine.connect() as connection:
        rows = connection.execute(select(table)).mappings().all()
    return sum(str(row["user_id"]) == user_id or row.get("canonical_email") == EMAIL for row in rows)


def everything(api: Api) -> str:
    """Every row of every table but for the keys, as text."""
    with api.engine.connect() as connection:
        return "\n".join(
            repr({**row})
            for table in metadata.sorted_tables
            if table.name != "signing_keys"
            for row in connection.execute(select(table)).mappings()
        )


def export(api: Api, token: str) -> dict[str, Any]:
    answer = api.get("/v1/account/export", token=token)
    assert (answer.status, answer.header("Cache-Control")) == (200, "no-store")
    assert [answer.header(name) for name in ("Content-Type", "Content-Length", "ETag")] == [JSON, None, None]
    found: dict[str, Any] = answer.json
    AccountExport.model_validate(found)
    return found


def delete(api: Api, token: str, password: str = PASSWORD) -> tuple[int, str | None]:
    answer = api.post("/v1/account/delete", {"current_password": password}, token=token)
    return answer.status, answer.json["code"] if answer.body else None


class TestTheExport:
    def test_of_a_new_account_is_short(self, api: Api) -> None:
        api.signup()
        api.clock.advance(seconds=1)
        pair = api.login()
        user = api.whoami(pair["access_token"]).json
        api.clock.advance(seconds=1)
        found = export(api, pair["access_token"])
        session_id = found["sessions"][0]["id"]
        assert all(event["request_id"] for event in found["audit_events"])
        assert found == {
            "exported_at": "2026-11-21T09:30:02Z",
            "user": user,
            "sessions": [
                {
                    "id": session_id,
                    "created_at": "2026-11-21T09:30:01Z",
                    "last_used_at": "2026-11-21T09:30:01Z",
                    "expires_at": "2026-12-21T09:30:01Z",
                    "ended_at": None,
                    "end_reason": None,
                    "user_agent": "",
                    "ip": "127.0.0.1",
                }
            ],
            "devices": [
                {
                    "id": found["devices"][0]["id"],
                    "created_at": "2026-11-21T09:30:01Z",
                    "last_used_at": "2026-11-21T09:30:01Z",
                    "expires_at": "2027-11-21T09:30:01Z",
                }
            ],
            "messages": [
                {
                    "kind": "email_verification",
                    "address": None,
                    "languages": "",
                    "ip": "127.0.0.1",
                    "request_id": found["audit_events"][0]["request_id"],
                    "created_at": "2026-11-21T09:30:00Z",
                    "attempts": 0,
                    "last_error": None,
                    "sent_at": None,
                    "dead_at": None,
                }
            ],
            "links": [],
            "audit_events": [
                {
                    "at": f"2026-11-21T09:30:0{number}Z",
                    "kind": kind,
                    "session_id": session,
                    "ip": "127.0.0.1",
                    "request_id": found["audit_events"][number]["request_id"],
                }
                for number, (kind, session) in enumerate(
                    [("signed_up", None), ("logged_in", session_id), ("account_exported", None)]
                )
            ],
        }

    def test_holds_every_row_that_is_stored_about_the_user(self, door: Api) -> None:
        pair = live(door)
        found = export(door, pair["access_token"])
        parts = {
            "sessions": "sessions",
            "devices": "devices",
            "outbox": "messages",
            "email_tokens": "links",
            "audit_events": "audit_events",
        }
        assert OWNED.keys() == parts.keys(), "a new table of a user's must be exported"
        counts = {name: len(found[part]) for name, part in parts.items()}
        assert counts == {name: rows_of(door, table, found["user"]["id"]) for name, table in OWNED.items()}
        assert all(counts.values())
        assert {link["purpose"] for link in found["links"]} == {"password_reset", "email_verification", "email_change"}
        assert OTHER_EMAIL in {link["address"] for link in found["links"]}
        assert "logout" in {session["end_reason"] for session in found["sessions"]}

    def test_holds_what_was_asked_for_by_the_address_alone(self, door: Api) -> None:
        token = door.signed_in()["access_token"]
        door.deliver()
        door.clock.advance(seconds=1)
        door.ask_for_reset("nobody@example.com")
        request_id = door.ask_for_reset().header("X-Request-ID")
        asked = export(door, token)["messages"][1:]
        assert [(found["kind"], found["request_id"]) for found in asked] == [("password_reset", request_id)]

    def test_tells_a_message_that_was_given_up_from_one_on_its_way(self, door: Api) -> None:
        token = door.signed_in()["access_token"]
        door.mailer.failure = MailRefused("recipient refused: 550")
        door.deliver()
        (given_up,) = export(door, token)["messages"]
        found = [given_up[name] for name in ("attempts", "last_error", "dead_at", "sent_at")]
        assert found == [1, "recipient refused: 550", "2026-11-21T09:30:00Z", None]

    def test_holds_no_secret(self, door: Api) -> None:
        pair = live(door)
        letters = [*door.mailer.letters, *door.mailer.refused]
        tokens = [token_of(letter) for letter in letters if kind_of(letter) in ("password_reset", "email_change")]
        found = json.dumps(export(door, pair["access_token"]))
        with door.engine.connect() as connection:
            hashes = list(connection.scalars(select(users.c.password_hash)))
            columns = (sessions.c.seed, outbox.c.seed, email_tokens.c.digest)
            seeds = [value for column in columns for value in connection.scalars(select(column)) if value]
        assert (len(hashes), len(tokens)) == (1, 2)
        assert len(seeds) >= 6
        spellings = [
            *hashes,
            *tokens,
            *(encoded(value) for value in seeds for encoded in (bytes.hex, repr, base64_of, urlsafe_base64_of)),
            pair["access_token"],
            pair["refresh_token"],
            "twm_",
            "twr_",
            "bcrypt",
            "password_hash",
            "seed",
            "digest",
        ]
        assert not [each for each in spellings if each in found]

    def test_holds_nothing_of_others(self, door: Api) -> None:
        door.signup("ben@example.com")
        other = door.login("ben@example.com")
        door.deliver()
        mine = export(door, door.signed_in()["access_token"])
        assert "ben@example.com" not in json.dumps(mine)
        assert export(door, other["access_token"])["user"]["email"] == "ben@example.com"
        assert not {session["id"] for session in mine["sessions"]} & {
            session["id"] for session in export(door, other["access_token"])["sessions"]
        }

    def test_needs_a_login(self, api: Api) -> None:
        assert api.get("/v1/account/export").status == 401
        assert api.get("/v1/account/export", token="junk").status == 401

    def test_is_recorded(self, door: Api) -> None:
        token = door.signed_in()["access_token"]
        export(door, token)
        door.clock.advance(seconds=1)
        kinds = [event["kind"] for event in export(door, token)["audit_events"]]
        assert kinds.count("account_exported") == 2


def base64_of(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def urlsafe_base64_of(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def delete_wholly(api: Api, token: str) -> None:
    """Delete the account, and let the housekeeping erase what it left behind."""
    assert delete(api, token) == (204, None)
    api.auth.housekeeper.run_once()


INVALID_BODIES: tuple[tuple[dict[str, object], str, str], ...] = (
    ({}, "/current_password", "missing"),
    ({"current_password": None}, "/current_password", "wrong_type"),
    ({"current_password": ""}, "/current_password", "too_short"),
    ({"current_password": PASSWORD, "user_id": "x"}, "/user_id", "unknown_member"),
)


class TestTheDeletion:
    def test_removes_every_row_of_the_user(self, door: Api) -> None:
        pair = live(door)
        user_id = door.whoami(pair["access_token"]).json["id"]
        answer = door.post("/v1/account/delete", {"current_password": PASSWORD}, token=pair["access_token"])
        assert (answer.status, answer.body, answer.header("Content-Type")) == (204, b"", None)
        door.auth.housekeeper.run_once()
        left = {name: rows_of(door, table, user_id) for name, table in OWNED.items()}
        assert left.pop("audit_events") > 5
        assert set(left.values()) == {0}
        with door.engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(users)) == 0

    def test_takes_name_addresses_and_password_from_the_account_in_its_own_answer(self, door: Api) -> None:
        pair = live(door)
        assert delete(door, pair["access_token"]) == (204, None)
        with door.engine.connect() as connection:
            (row,) = connection.execute(select(users)).mappings()
        assert [row[name] for name in ("email", "display_name", "password_hash", "roles")] == ["", None, "", []]
        assert not [text for text in (EMAIL, "Ann", "@") if text in repr({**row})]

    def test_is_whole_however_small_the_batches_of_the_housekeeping(
        self, door: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "BATCH", 2)
        pair = live(door)
        user_id = door.whoami(pair["access_token"]).json["id"]
        delete_wholly(door, pair["access_token"])
        assert {name for name, table in OWNED.items() if rows_of(door, table, user_id)} == {"audit_events"}
        assert not [
            personal for personal in (EMAIL, OTHER_EMAIL, "@", "127.0.0.1", "Ann") if personal in everything(door)
        ]

    def test_is_told_to_those_who_verify_tokens_by_themselves_in_one_entry(self, api: Api) -> None:
        first, second = api.signed_in(), api.login()
        user_id = api.whoami(first["access_token"]).json["id"]
        assert delete(api, second["access_token"]) == (204, None)
        feed = jwt.decode(api.get("/v1/revocations").body, options={"verify_signature": False})
        (entry,) = feed["revocations"]
        assert (entry["kind"], entry["id"]) == ("subject", hash_of(user_id))
        assert entry["not_before"] > api.clock.now().timestamp()

    def test_leaves_no_address_of_person_or_network_anywhere(self, door: Api) -> None:
        pair = live(door)
        delete_wholly(door, pair["access_token"])
        left = everything(door)
        assert "account_deleted" in left
        assert "throttled" in left
        for personal in (EMAIL, OTHER_EMAIL, "@", "127.0.0.1", "Ann", "password_hash"):
            assert personal not in left

    def test_leaves_no_request_by_which_an_event_could_be_joined_to_another(self, door: Api) -> None:
        pair = live(door)
        delete_wholly(door, pair["access_token"])
        with door.engine.connect() as connection:
            rows = connection.execute(select(audit_events)).mappings().all()
        joining = [row["request_id"] for row in rows if row["user_id"] and row["kind"] != "account_deleted"]
        assert len(joining) > 10
        assert set(joining) == {""}

    def test_leaves_the_kinds_and_times_of_events(self, api: Api) -> None:
        pair = api.signed_in()
        user_id = api.whoami(pair["access_token"]).json["id"]
        delete_wholly(api, pair["access_token"])
        with api.engine.connect() as connection:
            rows = connection.execute(select(audit_events)).mappings().all()
        assert sorted(row["kind"] for row in rows) == ["account_deleted", "logged_in", "signed_up"]
        assert {str(row["user_id"]) for row in rows} == {user_id}
        assert {row["ip"] for row in rows} == {""}

    def test_is_recorded_with_its_request(self, api: Api) -> None:
        token = api.signed_in()["access_token"]
        answer = api.post("/v1/account/delete", {"current_password": PASSWORD}, token=token)
        api.auth.housekeeper.run_once()
        with api.engine.connect() as connection:
            rows = connection.execute(select(audit_events)).mappings().all()
        (deleted,) = [row for row in rows if row["kind"] == "account_deleted"]
        assert (deleted["request_id"], deleted["ip"]) == (answer.header("X-Request-Id"), "")

    def test_leaves_others_alone(self, door: Api) -> None:
        door.signup("ben@example.com")
        ben = door.login("ben@example.com")
        door.ask_for_reset("ben@example.com")
        before = export(door, ben["access_token"])
        assert delete(door, door.signed_in()["access_token"]) == (204, None)
        after = export(door, ben["access_token"])
        for part in ("user", "sessions", "messages", "links"):
            assert after[part] == before[part]
        assert {event["ip"] for event in after["audit_events"]} == {"127.0.0.1"}
        assert [recipient_of(letter) for letter in door.deliver()] == ["ben@example.com"] * 2

    def test_kills_every_token_at_once(self, api: Api) -> None:
        pair = api.signed_in()
        verification = api.verification_token()
        reset = api.reset_token()
        assert api.ask_for_change(pair["access_token"]).status == 202
        change = token_of(api.letter("email_change"))
        other = api.login()
        assert delete(api, other["access_token"]) == (204, None)
        for each in (pair, other):
            assert api.whoami(each["access_token"]).json["code"] == "invalid_token"
            assert api.refresh(each["refresh_token"]).json["code"] == "invalid_refresh_token"
        assert api.reset(reset).json["code"] == "invalid_reset_token"
        for token in (verification, change):
            assert api.verify(token).json["code"] == "invalid_verification_token"
        assert delete(api, pair["access_token"]) == (401, "invalid_token")
        assert api.get("/v1/account/export", token=pair["access_token"]).status == 401
        assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401

    def test_sends_nothing_that_was_still_on_its_way(self, api: Api) -> None:
        pair = api.signed_in()
        api.ask_for_reset()
        api.ask_for_change(pair["access_token"])
        assert delete(api, pair["access_token"]) == (204, None)
        assert api.deliver() == []

    def test_frees_the_address_for_somebody_new(self, door: Api) -> None:
        pair = door.signed_in()
        user_id = door.whoami(pair["access_token"]).json["id"]
        stale = door.reset_token()
        assert delete(door, pair["access_token"]) == (204, None)
        assert door.signup(EMAIL, OTHER_PASSWORD)["id"] != user_id
        assert door.reset(stale).status == 400
        assert door.whoami(pair["access_token"]).status == 401
        fresh = door.login(EMAIL, OTHER_PASSWORD)
        assert len(export(door, fresh["access_token"])["sessions"]) == 1

    def test_needs_the_current_password(self, door: Api) -> None:
        pair = live(door)
        before = export(door, pair["access_token"])
        assert delete(door, pair["access_token"], OTHER_PASSWORD) == (403, "wrong_password")
        after = export(door, pair["access_token"])
        assert after["user"] == before["user"]
        kinds = [event["kind"] for event in after["audit_events"]]
        assert "confirmation_failed" in kinds
        assert "account_deleted" not in kinds

    @on_one_database
    def test_with_invalid_input_deletes_nothing(self, api: Api) -> None:
        token = api.signed_in()["access_token"]
        for body, pointer, code in INVALID_BODIES:
            answer = api.post("/v1/account/delete", body, token=token)
            assert answer.status == 422
            assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [(pointer, code)]
        assert api.whoami(token).status == 200

    def test_needs_a_login(self, api: Api) -> None:
        api.signup()
        assert api.post("/v1/account/delete", {"current_password": PASSWORD}).status == 401
        api.login()

    def test_is_held_back_by_an_overload(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        token = api.signed_in()["access_token"]

        def full(*_: object) -> bool:
            raise Overloaded

        monkeypatch.setattr(api.auth.accounts._passwords, "verify", full)
        assert delete(api, token) == (503, "overloaded")
        assert api.whoami(token).status == 200


@pytest.mark.parametrize("framework", FRAMEWORKS)
@on_one_database
def test_a_client_that_goes_away_ends_its_export(
    service: Service, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_export, "PAGE", 1)
    token = live(service.api(framework))["access_token"]
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    driver: Any = service.doors[framework]
    listen(service.store.engine, "before_cursor_execute", note)
    try:
        first = driver.abandon("/v1/account/export", [("Authorization", f"Bearer {token}")])
    finally:
        remove(service.store.engine, "before_cursor_execute", note)
    assert first.startswith(b'{"exported_at":')
    pages = [statement for statement in statements if "FROM audit_events" in statement]
    assert pages == [], "each event would be one"


def test_both_doors_export_the_same(both: tuple[Api, Api]) -> None:
    here, there = both
    token = live(here)["access_token"]
    first, second = export(here, token), export(there, token)
    (latest,) = [event for event in second["audit_events"] if event not in first["audit_events"]]
    assert latest["kind"] == "account_exported"
    second["audit_events"].remove(latest)
    assert first == second


@pytest.mark.parametrize("order", [FRAMEWORKS, FRAMEWORKS[::-1]], ids=lambda order: f"{order[0]} first")
def test_an_account_deleted_at_one_door_is_gone_at_the_other(service: Service, order: tuple[str, str]) -> None:
    here, there = map(service.api, order)
    pair = here.signed_in()
    assert there.whoami(pair["access_token"]).status == 200
    assert delete(here, pair["access_token"]) == (204, None)
    assert there.whoami(pair["access_token"]).status == 401
    assert there.refresh(pair["refresh_token"]).status == 401
