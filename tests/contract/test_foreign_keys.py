"""A signing key that somebody has put into the database, without the secret of the service, signs for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from sqlalchemy import Engine, delete, insert, select, update

from core.tokens.key_material import generate, public_jwk
from core.tokens.sql import signing_keys
from tests.support.services import OpenDoor


@contextmanager
def _in_the_database(engine: Engine, like: str, jwk: dict[str, Any]) -> Iterator[None]:
    """The key beside the one that it is like, and its public half in the place of that one's."""
    with engine.begin() as connection:
        row = dict(connection.execute(select(signing_keys).where(signing_keys.c.kid == like)).mappings().one())
        changed = row | {"public_jwk": jwk | {"kid": like}}
        connection.execute(update(signing_keys).where(signing_keys.c.kid == like).values(changed))
        connection.execute(insert(signing_keys).values(row | {"kid": jwk["kid"], "number": 1000, "public_jwk": jwk}))
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(update(signing_keys).where(signing_keys.c.kid == like).values(row))
            connection.execute(delete(signing_keys).where(signing_keys.c.kid == jwk["kid"]))


def test_a_key_of_an_attacker_in_the_database_signs_for_nobody(door: OpenDoor) -> None:
    true = door().signed_in()["access_token"]
    kid = jwt.get_unverified_header(true)["kid"]
    private_key = generate("ES256")
    theirs = public_jwk(private_key, "ES256")
    claims = jwt.decode(true, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, private_key, "ES256", headers={"kid": name, "typ": "at+jwt"})
        for name in (theirs["kid"], kid)
    ]
    api = door()
    with _in_the_database(api.engine, kid, theirs):
        assert [api.whoami(token).status for token in (true, *forged)] == [200, 401, 401]
        published = {key["kid"]: key["x"] for key in api.get("/.well-known/jwks.json").json["keys"]}
    assert kid in published
    assert theirs["kid"] not in published
    assert theirs["x"] not in published.values()
