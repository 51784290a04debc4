"""Project Wycheproof's JWS vectors against what an access token's signature goes through.

`AccessTokens.verify` reads its own header shape only, so the same steps are put together here for any header: the
canonical compact form, the header read strictly, one algorithm a key, the signature by PyJWT. Where that differs from
what a vector asks for, the difference is written down below, with its reason, and nothing else may differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from jwt.utils import base64url_decode, base64url_encode

from core.errors import InvalidToken
from core.settings.groups import TokenSettings
from core.sql_store import SqlStore
from core.strict_json import strict_loads
from core.tokens.access_tokens import AccessTokens
from core.tokens.key_material import Seal, public_jwk
from core.tokens.key_ring import KeyRing
from core.tokens.model import SigningKey
from tests.support import vectors
from tests.support.clock import START, FakeClock

SUITE = vectors.load("wycheproof/json_web_signature_test.json")
CASES = [(group.get("public", group["private"]), test) for group in SUITE["testGroups"] for test in group["tests"]]

EMPTY_PAYLOAD = "valid, but empty: a token without claims is none, so a segment has at least one character"
OTHER_ALGORITHM = "valid, but the key is named for another algorithm than the header's: one key, one algorithm"
NOT_BASE64URL = "called valid with a character outside of base64url in it, which RFC 7515 section 2 does not have"
SAME_TEXT = "called invalid for its padding, but the vector has none: it is, letter by letter, the valid vector 357"

DIFFERENCES = {
    259: EMPTY_PAYLOAD,
    264: EMPTY_PAYLOAD,
    268: EMPTY_PAYLOAD,
    272: EMPTY_PAYLOAD,
    320: EMPTY_PAYLOAD,
    325: EMPTY_PAYLOAD,
    346: OTHER_ALGORITHM,
    347: OTHER_ALGORITHM,
    350: OTHER_ALGORITHM,
    351: OTHER_ALGORITHM,
    367: SAME_TEXT,
    370: SAME_TEXT,
    372: NOT_BASE64URL,
    373: NOT_BASE64URL,
}

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


def admitted(jwk: dict[str, Any]) -> bool:
    """Whether a ring would hold this key: all of its keys are for signatures."""
    return jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])


def verifies(jwk: dict[str, Any], text: str) -> bool:
    parts = _COMPACT.fullmatch(text)
    if parts is None or not admitted(jwk):
        return False
    try:
        if any(base64url_encode(base64url_decode(part)).decode() != part for part in parts.groups()):
            return False
        header = strict_loads(base64url_decode(parts[1]), max_depth=1)
        key = PyJWK(jwk)
        if header["alg"] != key.algorithm_name:
            return False
        jwt.PyJWS().decode(text, key, algorithms=[key.algorithm_name])
    except (PyJWTError, ValueError, TypeError, KeyError):
        return False
    return True


def test_the_suite_is_the_one_that_was_looked_at() -> None:
    assert len(CASES) == SUITE["numberOfTests"] == 401
    assert {test["tcId"] for _, test in CASES} == set(range(1, 402))


def test_exactly_the_known_vectors_differ() -> None:
    differing = {test["tcId"] for key, test in CASES if verifies(key, test["jws"]) != (test["result"] == "valid")}
    assert differing == DIFFERENCES.keys()


HOLDS: dict[str, Callable[[dict[str, Any], dict[str, Any]], bool]] = {
    EMPTY_PAYLOAD: lambda _, test: test["result"] == "valid" and test["jws"].split(".")[1] == "",
    OTHER_ALGORITHM: lambda key, test: test["result"] == "valid" and header_of(test)["alg"] != key["alg"],
    NOT_BASE64URL: lambda _, test: test["result"] == "valid" and "?" in test["jws"],
    SAME_TEXT: lambda _, test: test["result"] == "invalid" and test["jws"] == CASES[357 - 1][1]["jws"],
}


@pytest.mark.parametrize(("case", "reason"), DIFFERENCES.items())
def test_a_difference_has_the_reason_that_is_given(case: int, reason: str) -> None:
    key, test = CASES[case - 1]
    assert test["tcId"] == case
    assert HOLDS[reason](key, test)


def test_a_valid_signature_alone_makes_no_access_token(new_store: Callable[[], SqlStore], clock: FakeClock) -> None:
    pairs = [group["private"] for group in SUITE["testGroups"]]
    keys = {(key["kid"], key["alg"]): key for key in pairs if key.get("alg") in ("ES256", "RS256")}
    seal = Seal([bytes(32)])
    assert keys.keys() == {(key["kid"], key["alg"]) for key, _ in CASES if key.get("alg") in ("ES256", "RS256")}
    for (kid, algorithm), key in keys.items():
        store, private_key = new_store(), PyJWK(key).key
        ring = KeyRing(store=store, clock=clock, seal=seal, settings=TokenSettings())
        with store.begin() as work:
            work.keys.add(
                SigningKey(
                    kid=kid,
                    number=1,
                    algorithm=algorithm,
                    public_jwk=public_jwk(private_key, algorithm),
                    sealed_private_key=seal.close(private_key, kid),
                    created_at=START,
                    activates_at=START,
                )
            )
            work.commit()
        assert ring.verifier(kid) is not None
        tokens = AccessTokens(
            ring=ring, clock=clock, issuer="a", settings=TokenSettings(audiences=("b",), client_id="c")
        )
        for _, test in CASES:
            with pytest.raises(InvalidToken):
                tokens.verify(test["jws"])


def header_of(test: dict[str, Any]) -> dict[str, Any]:
    return jwt.get_unverified_header(test["jws"])
