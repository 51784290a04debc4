"""Refresh, logout, and the sessions of a user."""

import uuid

import jwt
import pytest
from sqlalchemy import select

from core.audit.sql import audit_events
from tests.support.api import Api
from tests.support.services import on_one_database


def sid(pair: dict[str, str]) -> str:
    found: str = jwt.decode(pair["access_token"], options={"verify_signature": False})["sid"]
    return found


def kinds(api: Api) -> list[str]:
    with api.auth.store.engine.connect() as connection:  # type: ignore[attr-defined]  # the SQL store has one
        return list(connection.scalars(select(audit_events.c.kind).order_by(audit_events.c.id)))


def test_refresh_gives_a_new_pair_of_the_same_session(api: Api) -> None:
    first = api.signed_in()
    api.clock.advance(minutes=20)
    assert api.whoami(first["access_token"]).status == 401
    answer = api.refresh(first["refresh_token"])
    assert answer.status == 200
    second = answer.json
    assert api.whoami(second["access_token"]).status == 200
    assert sid(second) == sid(first)
    assert second["refresh_token"] != first["refresh_token"]


def test_the_direct_predecessor_gets_the_same_successor_within_the_grace(api: Api) -> None:
    first = api.signed_in()
    second = api.refresh(first["refresh_token"]).json
    api.clock.advance(seconds=59.999)
    again = api.refresh(first["refresh_token"])
    assert again.status == 200
    assert again.json["refresh_token"] == second["refresh_token"]
    assert api.refresh(second["refresh_token"]).status == 200


def test_a_predecessor_after_the_grace_ends_the_session(api: Api) -> None:
    first = api.signed_in()
    other_device = api.login()
    second = api.refresh(first["refresh_token"]).json
    api.clock.advance(seconds=60)
    answer = api.refresh(first["refresh_token"])
    assert (answer.status, answer.json["code"]) == (401, "invalid_refresh_token")
    assert answer.header("WWW-Authenticate") == 'Bearer realm="twinauth", error="invalid_token"'
    assert api.whoami(second["access_token"]).status == 401
    assert api.refresh(second["refresh_token"]).status == 401
    assert api.whoami(other_device["access_token"]).status == 200
    assert "refresh_token_reused" in kinds(api)


def test_anything_older_than_the_predecessor_ends_the_session_at_once(api: Api) -> None:
    first = api.signed_in()
    second = api.refresh(first["refresh_token"]).json
    third = api.refresh(second["refresh_token"]).json
    assert api.refresh(first["refresh_token"]).status == 401
    assert api.refresh(third["refresh_token"]).status == 401
    assert api.whoami(third["access_token"]).status == 401


def test_a_session_ends_when_it_is_idle(api: Api) -> None:
    token = api.signed_in()["refresh_token"]
    api.clock.advance(days=30, seconds=-1)
    token = api.refresh(token).json["refresh_token"]
    api.clock.advance(days=30)
    assert api.refresh(token).status == 401


def test_rotation_never_moves_the_absolute_end(api: Api) -> None:
    token = api.signed_in()["refresh_token"]
    for _ in range(4):
        api.clock.advance(days=20)
        token = api.refresh(token).json["refresh_token"]
    api.clock.advance(days=9, hours=23, minutes=55)
    last = api.refresh(token).json
    assert last["expires_in"] == last["refresh_expires_in"] == 300
    api.clock.advance(minutes=5)
    assert api.refresh(last["refresh_token"]).status == 401
    assert api.whoami(last["access_token"]).status == 401


@on_one_database
def test_junk_is_refused_without_asking_the_database(api: Api) -> None:
    api.auth.store.close()
    for junk in ("", " ", "x", "twr_", "twr_" + "A" * 72, "a" * 10_000, "twr_" + "é" * 72):
        answer = api.refresh(junk)
        assert (answer.status, answer.json["code"]) == (401, "invalid_refresh_token"), junk


def test_an_access_token_is_no_refresh_token_and_the_reverse(api: Api) -> None:
    pair = api.signed_in()
    assert api.whoami(pair["refresh_token"]).status == 401
    assert api.post("/v1/refresh", {"refresh_token": pair["access_token"]}).status == 401


def test_logout_ends_the_session_and_only_it(api: Api) -> None:
    pair, other = api.signed_in(), api.login()
    answer = api.post("/v1/logout", token=pair["access_token"])
    assert (answer.status, answer.body, answer.header("Content-Type")) == (204, b"", None)
    assert api.whoami(pair["access_token"]).status == 401
    assert api.refresh(pair["refresh_token"]).status == 401
    assert api.post("/v1/logout", token=pair["access_token"]).status == 401
    assert api.whoami(other["access_token"]).status == 200


def test_sessions_are_listed_newest_first(api: Api) -> None:
    first = api.signed_in()
    api.clock.advance(minutes=1)
    answer = api.post(
        "/v1/login",
        {"email": "ann@example.com", "password": "correct horse battery"},
        headers=[("User-Agent", "phone/1.0")],
    )
    second = answer.json
    listed = api.get("/v1/sessions", token=second["access_token"])
    assert listed.status == 200
    assert listed.json == {
        "items": [
            {
                "id": sid(second),
                "created_at": "2026-11-21T09:31:00Z",
                "last_used_at": "2026-11-21T09:31:00Z",
                "expires_at": "2026-12-21T09:31:00Z",
                "user_agent": "phone/1.0",
                "ip": "127.0.0.1",
                "current": True,
            },
            {
                "id": sid(first),
                "created_at": "2026-11-21T09:30:00Z",
                "last_used_at": "2026-11-21T09:30:00Z",
                "expires_at": "2026-12-21T09:30:00Z",
                "user_agent": "",
                "ip": "127.0.0.1",
                "current": False,
            },
        ]
    }


def test_one_session_is_ended(api: Api) -> None:
    first, second = api.signed_in(), api.login()
    assert api.delete(f"/v1/sessions/{sid(first)}", token=second["access_token"]).status == 204
    assert api.whoami(first["access_token"]).status == 401
    assert api.whoami(second["access_token"]).status == 200
    assert api.delete(f"/v1/sessions/{sid(first)}", token=second["access_token"]).status == 404


def test_a_session_of_somebody_else_is_not_told_apart_from_none(api: Api) -> None:
    ann, eve = api.signed_in(), api.signed_in("eve@example.com")
    headers = [("X-Request-ID", "same")]
    foreign = api.delete(f"/v1/sessions/{sid(ann)}", token=eve["access_token"], headers=headers)
    missing = api.delete(f"/v1/sessions/{uuid.uuid4()}", token=eve["access_token"], headers=headers)
    assert foreign.status == missing.status == 404
    assert (foreign.body, foreign.headers) == (missing.body, missing.headers)
    assert api.whoami(ann["access_token"]).status == 200


def test_a_session_id_that_is_no_uuid_is_invalid_input(api: Api) -> None:
    token = api.signed_in()["access_token"]
    answer = api.delete("/v1/sessions/1%27--", token=token)
    assert answer.status == 422
    assert answer.json["errors"] == [
        {"pointer": "/session_id", "code": "wrong_type", "message": "This must be a UUID."}
    ]


@pytest.mark.parametrize(("query", "left"), [("", 0), ("?keep_current=false", 0), ("?keep_current=true", 1)])
def test_all_sessions_are_ended(api: Api, query: str, left: int) -> None:
    first, second = api.signed_in(), api.login()
    assert api.delete(f"/v1/sessions{query}", token=second["access_token"]).status == 204
    assert api.whoami(first["access_token"]).status == 401
    assert api.whoami(second["access_token"]).status == (200 if left else 401)


@on_one_database
def test_a_wrong_query_is_invalid_input(api: Api) -> None:
    token = api.signed_in()["access_token"]
    for query, code in (
        ("keep_current=perhaps", "wrong_type"),
        ("keep_current=", "wrong_type"),
        ("keep_current=1&keep_current=0", "repeated"),
    ):
        answer = api.delete(f"/v1/sessions?{query}", token=token)
        assert answer.status == 422
        assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [("/keep_current", code)]
        assert api.whoami(token).status == 200


def test_a_misspelt_query_ends_nothing(api: Api) -> None:
    token = api.signed_in()["access_token"]
    answer = api.delete("/v1/sessions?keep_curent=true", token=token)
    assert answer.status == 422
    assert [(error["pointer"], error["code"]) for error in answer.json["errors"]] == [
        ("/keep_curent", "unknown_member")
    ]
    assert api.whoami(token).status == 200


def test_sessions_of_one_user_are_nobody_elses(api: Api) -> None:
    ann, eve = api.signed_in(), api.signed_in("eve@example.com")
    assert api.delete("/v1/sessions", token=eve["access_token"]).status == 204
    assert api.whoami(ann["access_token"]).status == 200
    assert [session["id"] for session in api.get("/v1/sessions", token=ann["access_token"]).json["items"]] == [sid(ann)]
