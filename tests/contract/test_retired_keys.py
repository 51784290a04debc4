"""A signing key that leaked: whoever holds it can sign any token, until the key is retired."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from sqlalchemy import delete, insert, select

from core.sql_store import SqlStore
from core.tokens.key_ring import REFRESH
from core.tokens.sql import signing_keys
from tests.support.api import Api
from tests.support.databases import empty
from tests.support.services import FRAMEWORKS, Service, open_service

OpenProcess = Callable[[], Service]


@pytest.fixture
def process(database: str, stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop) -> Iterator[OpenProcess]:
    """Open a process of the service; at the end its database has the keys of the services that share it."""
    store = stores(database)
    with store.engine.begin() as connection:
        before = [dict(row) for row in connection.execute(select(signing_keys)).mappings()]
    yield lambda: open_service(store, loop)
    empty(store)
    with store.engine.begin() as connection:
        connection.execute(delete(signing_keys))
        if before:
            connection.execute(insert(signing_keys), before)


@pytest.fixture
def doors(process: OpenProcess) -> list[Api]:
    """Both doors of one process."""
    service = process()
    return [service.api(framework) for framework in FRAMEWORKS]


def kid_of(token: str) -> str:
    found: str = jwt.get_unverified_header(token)["kid"]
    return found


def published(api: Api) -> list[str]:
    return [key["kid"] for key in api.get("/.well-known/jwks.json").json["keys"]]


def feed(api: Api) -> tuple[str, list[dict[str, Any]]]:
    """The key that signs the feed, and the entries."""
    text = api.get("/v1/revocations").body.decode()
    return kid_of(text), jwt.decode(text, options={"verify_signature": False})["revocations"]


def forge(api: Api) -> str:
    """A token for a session that lives, which the holder of the leaked key signed."""
    claims = jwt.decode(api.login()["access_token"], options={"verify_signature": False})
    key, private_key = api.auth.keys.signer()
    headers = {"typ": "at+jwt", "kid": key.kid}
    return jwt.encode(claims | {"jti": "forged"}, private_key, algorithm=key.algorithm, headers=headers)


def test_what_a_retired_key_signed_is_refused_at_once_and_its_sessions_live_on(doors: list[Api]) -> None:
    pair = doors[0].signed_in()
    forged = forge(doors[0])
    assert [door.whoami(forged).status for door in doors] == [200, 200]
    leaked = kid_of(forged)
    signing = doors[0].auth.keys.retire(leaked).kid
    for door in doors:
        assert [door.whoami(text).status for text in (forged, pair["access_token"])] == [401, 401]
        assert published(door) == [signing]
        refreshed = door.refresh(pair["refresh_token"]).json
        assert kid_of(refreshed["access_token"]) == signing != leaked
        assert door.whoami(refreshed["access_token"]).status == 200


def test_the_feed_says_so_under_another_key(doors: list[Api]) -> None:
    doors[0].signed_in()
    leaked, before = feed(doors[0])
    assert before == []
    signing = doors[0].auth.keys.retire(leaked).kid
    hashed = base64.urlsafe_b64encode(hashlib.sha256(leaked.encode()).digest()).rstrip(b"=").decode()
    expires = int(doors[0].clock.now().timestamp()) + 2 * 86400
    for door in doors:
        assert feed(door) == (signing, [{"kind": "key", "id": hashed, "exp": expires}])


def test_every_process_refuses_it_within_a_second_and_none_signs_its_end_with_it(process: OpenProcess) -> None:
    here, there = process(), process()
    pair = here.api("flask").signed_in()
    for framework in FRAMEWORKS:
        assert there.api(framework).whoami(pair["access_token"]).status == 200
    signing = here.auth.keys.retire(kid_of(pair["access_token"])).kid
    there.clock.at += REFRESH
    for framework in FRAMEWORKS:
        door = there.api(framework)
        assert door.whoami(pair["access_token"]).status == 401
        assert (published(door), feed(door)[0]) == ([signing], signing)
    assert REFRESH.total_seconds() <= 1


def test_a_process_that_has_not_read_the_ring_since_signs_the_end_of_a_key_with_another(process: OpenProcess) -> None:
    here, there = process(), process()
    api = there.api("fastapi")
    leaked = feed(api)[0]
    signing = here.auth.keys.retire(leaked).kid
    assert published(api) == [leaked]
    assert feed(api)[0] == signing
