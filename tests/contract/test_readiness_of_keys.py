"""A process that can open no signing key is not ready: it would answer every login with an error."""

from __future__ import annotations

from sqlalchemy import update

from core.tokens.sql import signing_keys
from tests.support.api import EMAIL, PASSWORD
from tests.support.services import OpenDoor


def test_without_a_key_that_can_be_opened_a_process_is_not_ready(door: OpenDoor) -> None:
    api = door()
    api.auth.keys.ensure()
    stored = api.auth.keys.keys()[0]
    assert api.get("/readyz").status == 200
    with api.engine.begin() as connection:
        connection.execute(update(signing_keys).values(sealed_private_key=bytes(64)))
    locked = door()
    answer = locked.get("/readyz")
    assert (answer.status, answer.json["code"]) == (503, "keys_locked")
    assert locked.get("/healthz").status == 200
    assert locked.get("/.well-known/jwks.json").json["keys"] == [], "nothing tells it from a key of an attacker"
    with api.engine.begin() as connection:
        connection.execute(update(signing_keys).values(sealed_private_key=stored.sealed_private_key))
    locked.clock.advance(minutes=1)
    assert locked.get("/readyz").status == 200


def test_without_a_key_that_can_be_opened_who_logs_in_is_told_to_try_again(door: OpenDoor) -> None:
    """As a process with a secret that was replaced, until it is started anew."""
    api = door()
    pair = api.signed_in()
    stored = api.auth.keys.keys()[0]
    with api.engine.begin() as connection:
        connection.execute(update(signing_keys).values(sealed_private_key=bytes(64)))
    locked = door()
    login = locked.post("/v1/login", {"email": EMAIL, "password": PASSWORD})
    for answer in (login, locked.refresh(pair["refresh_token"]), locked.get("/v1/revocations")):
        assert (answer.status, answer.json["code"]) == (503, "keys_locked")
        assert answer.header("Retry-After") == "5"
    answer = locked.whoami(pair["access_token"])
    assert (answer.status, answer.json["code"]) == (503, "keys_locked"), "the token is as good as before"
    with api.engine.begin() as connection:
        connection.execute(update(signing_keys).values(sealed_private_key=stored.sealed_private_key))
