"""Project Wycheproof's JWS vectors: a signature alone, valid or not, makes no access token.

Which of their signatures verify is pinned for the issuer, whose steps are the same.
"""

from __future__ import annotations

import json

import pytest
from twinauth_verify import Expectations, InvalidToken, verify_token
from twinauth_verify.keys import Keys, read_jwks

from tests.support import vectors

SUITE = vectors.load("wycheproof/json_web_signature_test.json")
GROUPS = [group for group in SUITE["testGroups"] if "public" in group]


def test_none_is_an_access_token_though_their_keys_are_trusted() -> None:
    expectations = Expectations(issuer="a", audience="b")
    trusted: set[str] = set()
    for group in GROUPS:
        keys = trusting(group["public"])
        trusted |= keys.keys()
        for test in group["tests"]:
            with pytest.raises(InvalidToken):
                verify_token(test["jws"], keys, expectations, 0)
    assert trusted


def trusting(jwk: dict[str, object]) -> Keys:
    try:
        return read_jwks(json.dumps({"keys": [{"use": "sig", **jwk}]}).encode())
    except ValueError:
        return {}  # of a kind that is never taken
