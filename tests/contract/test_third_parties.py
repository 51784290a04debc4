"""Libraries of others verify our tokens with nothing but the published keys."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet

from core.settings.groups import TokenSettings
from core.sql_store import SqlStore
from tests.support.api import Api
from tests.support.services import FRAMEWORKS, open_service

ISSUER = "http://127.0.0.1:8000"


@pytest.fixture(params=["ES256", "RS256", "EdDSA"])
def algorithm(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=FRAMEWORKS)
def door(
    request: pytest.FixtureRequest, new_store: Callable[[], SqlStore], algorithm: Any, loop: asyncio.AbstractEventLoop
) -> Api:
    service = open_service(new_store(), loop, tokens=TokenSettings(algorithm=algorithm))
    service.clock.at = datetime.now(UTC).replace(microsecond=0)
    return service.api(request.param)


def published(api: Api) -> dict[str, Any]:
    keys: dict[str, Any] = json.loads(api.get("/.well-known/jwks.json").body)
    return keys


def forged(token: str) -> str:
    head, payload, signature = token.split(".")
    return f"{head}.{payload}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


def test_joserfc_verifies_a_token(door: Api, algorithm: str) -> None:
    token = door.signed_in()["access_token"]
    keys = KeySet.import_key_set(published(door))  # type: ignore[arg-type]  # a JSON object is one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joserfc calls EdDSA by its deprecated name deprecated
        decoded = joserfc_jwt.decode(token, keys, algorithms=[algorithm])
        joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": ISSUER}
        ).validate(decoded.claims)
        assert decoded.header["typ"] == "at+jwt"
        with pytest.raises(BadSignatureError):
            joserfc_jwt.decode(forged(token), keys, algorithms=[algorithm])


def test_authlib_verifies_a_token(door: Api, algorithm: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # authlib.jose announces its successor, joserfc
        from authlib.jose import JsonWebKey, JsonWebToken  # noqa: PLC0415 - it warns when it is imported
        from authlib.jose.errors import BadSignatureError as AuthlibBadSignatureError  # noqa: PLC0415

        token = door.signed_in()["access_token"]
        reader = JsonWebToken([algorithm])
        keys = JsonWebKey.import_key_set(published(door))
        claims = reader.decode(token, keys, claims_options={"iss": {"essential": True, "value": ISSUER}})
        claims.validate()
        assert claims["client_id"] == "twinauth"
        with pytest.raises(AuthlibBadSignatureError):
            reader.decode(forged(token), keys)
