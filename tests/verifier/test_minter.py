"""Tokens for the tests of other services."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from twinauth_verify import AccessToken, InvalidToken
from twinauth_verify.testing import TokenMinter

from tests.support.issuer import FakeTime

MADE = TokenMinter()


def both(minter: TokenMinter, text: str) -> AccessToken | None:
    """What both verifiers say."""

    def sync() -> AccessToken | None:
        with minter.verifier() as verifier:
            try:
                return verifier.verify(text)
            except InvalidToken:
                return None

    async def in_task() -> AccessToken | None:
        async with minter.async_verifier() as verifier:
            try:
                return await verifier.verify(text)
            except InvalidToken:
                return None

    token = sync()
    assert asyncio.run(in_task()) == token
    return token


class TestMintedTokens:
    def test_say_what_the_test_wants(self) -> None:
        token = both(MADE, MADE.mint(subject="ann", scopes=["a", "b"], roles=["admin"], ttl=60, sid="s", tenant="x"))
        assert token is not None
        assert (token.subject, token.session_id, token.claims["tenant"]) == ("ann", "s", "x")
        assert token.scopes == {"a", "b"}
        assert token.roles == {"admin"}
        assert (token.expires_at - token.issued_at).total_seconds() == 60

    def test_can_be_those_of_a_service_client(self) -> None:
        token = both(MADE, MADE.mint(subject="billing", client_id="billing", sid=None, scopes=["orders:read"]))
        assert token is not None
        assert token.session_id is None

    @pytest.mark.parametrize(
        "claims",
        [{"ttl": -60}, {"ttl": 4000}, {"aud": "another"}, {"iss": "another"}, {"sub": None}, {"jti": 1}, {"exp": "x"}],
    )
    def test_can_be_bad_ones(self, claims: dict[str, Any]) -> None:
        assert both(MADE, MADE.mint(**claims)) is None

    def test_of_another_minter_are_refused(self) -> None:
        assert both(MADE, TokenMinter().mint()) is None

    def test_verify_elsewhere_from_the_keys_alone(self) -> None:
        keys: Any = MADE.jwks
        assert joserfc_jwt.decode(MADE.mint(subject="ann"), KeySet.import_key_set(keys)).claims["sub"] == "ann"

    def test_expire(self) -> None:
        clock = FakeTime()
        minter = TokenMinter(clock=clock)
        token = minter.mint(ttl=60)
        assert both(minter, token) is not None
        clock.advance(90)
        assert both(minter, token) is None


class TestRevocations:
    def test_are_heard_at_once_by_verifiers_made_before_and_after(self) -> None:
        minter = TokenMinter()
        with minter.verifier() as before:
            token = minter.mint(sid="s", jti="t")
            before.verify(token)
            minter.revoke_session("s")
            with pytest.raises(InvalidToken):
                before.verify(token)
        assert both(minter, token) is None
        assert both(minter, minter.mint(sid="another")) is not None

    def test_of_one_token(self) -> None:
        minter = TokenMinter()
        minter.revoke_token("t")
        assert both(minter, minter.mint(jti="t")) is None
        assert both(minter, minter.mint()) is not None

    def test_of_a_subject_spare_what_is_minted_later(self) -> None:
        minter = TokenMinter()
        before = minter.mint(subject="ann")
        minter.revoke_subject("ann")
        assert both(minter, before) is None
        assert both(minter, minter.mint(subject="ann")) is not None
        assert both(minter, minter.mint(subject="bob")) is not None
