"""Forged tokens: always 401, at every protected operation, and nothing else happens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from core.contract.operation import Auth
from tests.support.api import Api
from tests.support.contract import OPERATIONS
from tests.support.services import on_one_database

OF_USERS = (Auth.USER, Auth.OPTIONAL_USER, Auth.BEARER)
PROTECTED = [operation for operation in OPERATIONS.values() if operation.auth in OF_USERS]


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


def with_header(token: str, **members: Any) -> str:
    head, payload, signature = token.split(".")
    return f"{encoded(decoded(head) | members)}.{payload}.{signature}"


def with_claims(token: str, **members: Any) -> str:
    head, payload, signature = token.split(".")
    return f"{head}.{encoded(decoded(payload) | members)}.{signature}"


def signed_by_a_stranger(token: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    head, payload, _ = map(str, token.split("."))
    return jwt.encode(decoded(payload), key, "ES256", headers=decoded(head))


def signed_with_the_public_key(token: str, api: Api) -> str:
    head, payload, _ = token.split(".")
    jwk = json.dumps(api.get("/.well-known/jwks.json").json["keys"][0]).encode()
    signing_input = f"{encoded(decoded(head) | {'alg': 'HS256'})}.{payload}"
    return f"{signing_input}.{encoded(hmac.digest(jwk, signing_input.encode(), hashlib.sha256))}"


def twisted(token: str) -> str:
    """The other signature of the same message: (r, n - s) verifies wherever (r, s) does."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    head, payload, signature = token.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    other = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    return f"{head}.{payload}.{encoded(other)}"


FORGERIES: dict[str, Callable[[str, Api], str]] = {
    "alg none": lambda token, _: with_header(token, alg="none"),
    "alg none without signature": lambda token, _: with_header(token, alg="none").rpartition(".")[0] + ".",
    "no signature": lambda token, _: token.rpartition(".")[0] + ".",
    "public key as secret": signed_with_the_public_key,
    "stranger's key": lambda token, _: signed_by_a_stranger(token),
    "stranger's key brought along": lambda token, _: with_header(token, jwk={"kty": "EC", "crv": "P-256"}),
    "key at a URL": lambda token, _: with_header(token, jku="http://127.0.0.1:1/keys"),
    "unknown kid": lambda token, _: with_header(token, kid="x"),
    "kid as path": lambda token, _: with_header(token, kid="../../etc/passwd"),
    "kid as SQL": lambda token, _: with_header(token, kid="' OR 1=1 --"),
    "critical extension": lambda token, _: with_header(token, crit=["b64"], b64=False),
    "another type": lambda token, _: with_header(token, typ="JWT"),
    "other user": lambda token, _: with_claims(token, sub=str(uuid.uuid4())),
    "more roles": lambda token, _: with_claims(token, roles=["admin"]),
    "longer life": lambda token, _: with_claims(token, exp=9999999999),
    "padding": lambda token, _: token + "=",
    "fourth part": lambda token, _: token + ".x",
    "encrypted": lambda token, _: token + ".x.y",
    "line feed in the middle": lambda token, _: token[:20] + "%0a" + token[20:],
    "huge": lambda token, _: token + "A" * 7000,
    "refresh token": lambda _, api: str(api.login()["refresh_token"]),
    "words": lambda _, __: "let me in",
}


@on_one_database
def test_a_forged_token_of_any_kind_is_refused(api: Api) -> None:
    """At one operation: which one makes no difference to how a token is read (tests/unit/test_token_attacks.py)."""
    token = api.signed_in()["access_token"]
    for name, forge in FORGERIES.items():
        answer = api.whoami(forge(token, api))
        assert (answer.status, answer.json["code"]) == (401, "invalid_token"), name
        assert api.whoami(token).status == 200


@on_one_database
def test_a_forged_token_is_refused_at_every_operation_and_nothing_else_happens(api: Api) -> None:
    token = api.signed_in()["access_token"]
    assert len(PROTECTED) > 8
    for operation in PROTECTED:
        path = operation.path.replace("{session_id}", str(uuid.uuid4()))
        body: Any = {} if operation.json else None
        answer = api.send(operation.method, path, json=body, token=with_claims(token, sub=str(uuid.uuid4())))
        assert (answer.status, answer.json["code"]) == (401, "invalid_token"), operation.id
    assert api.whoami(token).status == 200


@pytest.mark.parametrize(
    "twist", [lambda token: token, twisted, lambda token: token + "="], ids=["as it was", "s", "="]
)
def test_an_ended_token_stays_ended_in_every_spelling(api: Api, twist: Callable[[str], str]) -> None:
    token = api.signed_in()["access_token"]
    api.post("/v1/logout", token=token)
    assert api.whoami(twist(token)).status == 401
