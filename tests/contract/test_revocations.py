"""GET /v1/revocations."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from typing import Any

import jwt

from core.tokens.revocation_feed import MAX_KEPT
from tests.support.api import OTHER_PASSWORD, PASSWORD, Api, at_once
from tests.support.drivers import Answer
from tests.support.services import on_one_database


def hashed(value: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()).rstrip(b"=").decode()


def sid(pair: dict[str, Any]) -> str:
    found: str = jwt.decode(pair["access_token"], options={"verify_signature": False})["sid"]
    return found


def read(api: Api, answer: Answer) -> dict[str, Any]:
    """Verify the feed with the published keys, as a verifier does."""
    assert (answer.status, answer.header("Content-Type")) == (200, "application/jwt")
    header = jwt.get_unverified_header(answer.body)
    assert header["typ"] == "revocations+jwt"
    keys = api.get("/.well-known/jwks.json").json["keys"]
    key = jwt.PyJWK(next(key for key in keys if key["kid"] == header["kid"]))
    options: Any = {"verify_aud": False, "verify_iat": False}
    payload: dict[str, Any] = jwt.decode(
        answer.body, key, [header["alg"]], issuer="http://127.0.0.1:8000", options=options
    )
    assert payload["iat"] == int(api.clock.now().timestamp())
    assert answer.header("ETag") == f'"{payload["cursor"]}"'
    return payload


def cursor(api: Api) -> str:
    found: str = read(api, api.get("/v1/revocations"))["cursor"]
    return found


def ids_since(api: Api, since: str) -> list[str]:
    payload = read(api, api.get(f"/v1/revocations?since={since}"))
    assert payload["since"] == since
    return [entry["id"] for entry in payload["revocations"]]


def test_a_logout_stands_in_the_feed_hashed(api: Api) -> None:
    start, pair = cursor(api), api.signed_in()
    api.post("/v1/logout", token=pair["access_token"])
    payload = read(api, api.get(f"/v1/revocations?since={start}"))
    expires = int(api.clock.now().timestamp()) + 3600
    assert payload["revocations"] == [{"kind": "session", "id": hashed(sid(pair)), "exp": expires}]
    assert ids_since(api, payload["cursor"]) == []


def test_every_way_to_end_a_session_stands_in_the_feed(api: Api) -> None:
    start = cursor(api)
    laptop, phone, tablet, watch = api.signed_in(), api.login(), api.login(), api.login()
    api.delete(f"/v1/sessions/{sid(phone)}", token=laptop["access_token"])
    api.post("/v1/revoke", form={"token": tablet["refresh_token"]})
    rotated = api.refresh(watch["refresh_token"]).json
    api.clock.advance(seconds=61)
    api.refresh(watch["refresh_token"])
    other = api.login()
    body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    api.post("/v1/account/password", body, token=laptop["access_token"])
    api.delete("/v1/sessions", token=laptop["access_token"])
    expected = {hashed(sid(pair)) for pair in (phone, tablet, rotated, other, laptop)}
    assert set(ids_since(api, start)) == expected


def test_what_no_token_can_outlive_leaves_the_feed(api: Api) -> None:
    start, pair = cursor(api), api.signed_in()
    api.post("/v1/logout", token=pair["access_token"])
    api.clock.advance(minutes=59, seconds=59)
    assert ids_since(api, start) == [hashed(sid(pair))]
    api.clock.advance(seconds=1)
    assert ids_since(api, start) == []


def test_nothing_new_is_304_for_who_names_the_cursor(api: Api) -> None:
    start = cursor(api)
    answer = api.get(f"/v1/revocations?since={start}", headers=[("If-None-Match", f'"{start}"')])
    assert (answer.status, answer.body) == (304, b"")
    assert answer.header("ETag") == f'"{start}"'
    assert api.get(f"/v1/revocations?since={start}", headers=[("If-None-Match", '"other"')]).status == 200


def test_many_who_ask_in_one_second_are_given_one_signature(api: Api) -> None:
    """Signatures of ES256 differ each time. There are no more for callers than there are seconds and news."""
    start, pair = cursor(api), api.signed_in()
    target = f"/v1/revocations?since={start}"
    empty = {answer.body for answer in at_once([lambda: api.get(target)] * 8)}
    assert len(empty) == 1
    api.post("/v1/logout", token=pair["access_token"])
    told = {answer.body for answer in at_once([lambda: api.get(target)] * 8)}
    assert len(told) == 1
    assert ids_since(api, start) == [hashed(sid(pair))], "seen at once"
    api.clock.advance(seconds=1)
    assert api.get(target).body not in empty | told


def test_an_answer_is_kept_for_its_cursor_alone(api: Api) -> None:
    start, pair = cursor(api), api.signed_in()
    api.post("/v1/logout", token=pair["access_token"])
    latest = cursor(api)
    assert [ids_since(api, since) for since in (start, latest, start)] == [[hashed(sid(pair))], [], [hashed(sid(pair))]]


def test_more_cursors_than_are_kept_are_answered_all_the_same(api: Api) -> None:
    cursors = [cursor(api)]
    for _ in range(MAX_KEPT + 2):
        api.auth.clients.set_active(api.auth.clients.create("Orders", ())[0].id, is_active=False)
        cursors.append(cursor(api))
    assert [len(ids_since(api, since)) for since in cursors] == list(range(MAX_KEPT + 2, -1, -1))


@on_one_database
def test_a_wrong_query_is_invalid_input(api: Api) -> None:
    for query in ("wait=26", "wait=-1", "wait=x"):
        answer = api.get(f"/v1/revocations?{query}")
        assert answer.status == 422, query
        assert answer.json["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_a_cursor_that_names_no_entry_is_refused(api: Api) -> None:
    api.post("/v1/logout", token=api.signed_in()["access_token"])
    known = cursor(api)
    number, _, tag = known.partition(".")
    others = (f"{number}.{'0' * 16}", f"{int(number) + 1}.{tag}", "x", "-1", "", "9" * 19, f"{known}-", f"{number}.")
    for since in others:
        answer = api.get(f"/v1/revocations?since={since}")
        assert (answer.status, answer.json["code"]) == (400, "unknown_cursor"), since


def test_a_number_alone_begins_anew(api: Api) -> None:
    """Earlier versions gave numbers out as cursors."""
    pair = api.signed_in()
    api.post("/v1/logout", token=pair["access_token"])
    for since in ("0", "1", "999"):
        assert ids_since(api, since) == [hashed(sid(pair))]


def test_who_waits_is_told_within_two_seconds(api: Api) -> None:
    start, pair = cursor(api), api.signed_in()
    told: list[float] = []

    def wait() -> None:
        answer = api.get(f"/v1/revocations?since={start}&wait=20")
        told.append(time.monotonic())
        assert [entry["id"] for entry in read(api, answer)["revocations"]] == [hashed(sid(pair))]

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.3)
    api.post("/v1/logout", token=pair["access_token"])
    ended = time.monotonic()
    waiting.join(20)
    assert told
    assert told[0] - ended < 2


@on_one_database
def test_who_waits_in_vain_is_answered_in_time(api: Api) -> None:
    start, began = cursor(api), time.monotonic()
    assert read(api, api.get(f"/v1/revocations?since={start}&wait=1"))["revocations"] == []
    assert 0.9 < time.monotonic() - began < 3


def test_a_disabled_client_stands_in_the_feed_with_a_time(api: Api) -> None:
    client, _ = api.auth.clients.create("Orders", ())
    start = cursor(api)
    api.auth.clients.set_active(client.id, is_active=False)
    (entry,) = read(api, api.get(f"/v1/revocations?since={start}"))["revocations"]
    now = int(api.clock.now().timestamp())
    assert entry == {"kind": "subject", "id": hashed(client.id), "not_before": now + 1, "exp": now + 3600}
