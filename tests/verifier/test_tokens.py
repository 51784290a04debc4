"""What the verifier alone asks of a token, and what it makes of one.

What every reader must refuse stands in tests/unit/test_token_attacks.py.
"""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from joserfc import jws as joserfc_jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey
from twinauth_verify import InvalidToken
from twinauth_verify.revocations import read_revocation

from tests.support.issuer import (
    ABSENT,
    ALGORITHMS,
    SESSION,
    START,
    SUBJECT,
    Algorithm,
    FakeTime,
    Issuer,
    Signer,
    base64url,
    bytes_of,
    encoded,
)
from tests.support.token_attacks import P256_ORDER
from tests.support.verifiers import AnyVerifier, OpenVerifier

NOW = START
SKEW = 30


def accepts(verifier: AnyVerifier, text: Any) -> bool:
    try:
        verifier.verify(text)
    except InvalidToken as error:
        return type(error) is not InvalidToken or error.args != ()
    return True


class TestForms:
    def test_that_are_no_text_are_refused(self, verifier: AnyVerifier) -> None:
        values: tuple[Any, ...] = (None, 1, b"abc", [], {}, True)
        for value in values:
            assert not accepts(verifier, value), value

    def test_of_another_library_are_accepted(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        key = ECKey.import_key(issuer.signer.key)
        assert accepts(verifier, joserfc_jwt.encode(issuer.header(), issuer.claims(), key))
        assert accepts(verifier, joserfc_jws.serialize_compact(issuer.header(), encoded(issuer.claims()), key))

    def test_that_are_twins_in_ecdsa_are_revoked_together(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        """(r, n - s) verifies wherever (r, s) does: so a token is revoked by its jti and sid, never by its text."""
        head, signature = issuer.sign().rsplit(".", 1)
        raw = bytes_of(signature)
        twin = f"{head}.{base64url(raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"
        assert verifier.verify(twin) == verifier.verify(f"{head}.{signature}")
        issuer.revoke("session", SESSION)
        found = [read_revocation(entry) for entry in issuer.entries]
        verifier.validator.revocations.add([entry for entry in found if entry is not None])
        for text in (twin, f"{head}.{signature}"):
            assert not accepts(verifier, text)


class TestClaims:
    def test_have_scopes_and_roles_that_are_ones(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        scopes: tuple[Any, ...] = (None, [], {}, " ", "a  b", " a", "a ", "a\tb", 'a"b', "a\\b", "\u00e9")
        for scope in scopes:
            assert not accepts(verifier, issuer.token(scope=scope)), scope
        for roles in ([""], ["admin", ""]):
            assert not accepts(verifier, issuer.token(roles=roles)), roles
        assert accepts(verifier, issuer.token(scope="", roles=[]))


class TestTimes:
    @pytest.mark.parametrize(
        ("claims", "later"),
        [
            pytest.param({}, 0, id="as it is issued"),
            pytest.param({}, 900 + SKEW - 0.001, id="just before it expires for the slowest clock"),
            pytest.param({"iat": NOW + SKEW}, 0, id="from a clock that is a little ahead"),
            pytest.param({"exp": NOW + 3600}, 3600, id="of the longest life"),
            pytest.param({"nbf": NOW + SKEW}, 0, id="not before a little later"),
            pytest.param({"nbf": 0}, 0, id="not before 1970"),
        ],
    )
    def test_within_their_bounds_are_accepted(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime, claims: dict[str, int], later: float
    ) -> None:
        token = issuer.token(**claims)
        time_.advance(later)
        assert verifier.verify(token).subject == SUBJECT

    @pytest.mark.parametrize(
        ("claims", "later"),
        [
            pytest.param({}, 900 + SKEW, id="as it expires for the slowest clock"),
            pytest.param({}, -SKEW - 0.001, id="before it is issued"),
            pytest.param({"iat": NOW + SKEW + 1}, 0, id="from the future"),
            pytest.param({"iat": NOW + 20, "exp": NOW + 10}, 0, id="expired before it was issued"),
            pytest.param({"nbf": NOW + SKEW + 1}, 0, id="not before a minute from now"),
        ],
    )
    def test_outside_of_their_bounds_are_refused(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime, claims: dict[str, int], later: float
    ) -> None:
        verifier.start()
        token = issuer.token(**claims)
        time_.advance(later)
        assert not accepts(verifier, token)

    def test_are_checked_after_somebody_has_peeked_without_checking(
        self, verifier: AnyVerifier, issuer: Issuer, time_: FakeTime
    ) -> None:
        token = issuer.sign()
        options: Any = {"verify_signature": False, "verify_exp": False}
        jwt.decode(token, options=options)
        time_.advance(3600)
        assert not accepts(verifier, token)

    @pytest.mark.parametrize(("skew", "accepted"), [(0, False), (60, True)])
    def test_have_the_skew_that_is_set(
        self, open_verifier: OpenVerifier, issuer: Issuer, skew: int, *, accepted: bool
    ) -> None:
        verifier = open_verifier(issuer, follow_revocations=False, clock_skew=skew)
        assert accepts(verifier, issuer.token(iat=NOW + 60)) == accepted


class TestGoodTokens:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_say_what_they_say(self, open_verifier: OpenVerifier, issuer: Issuer, algorithm: Algorithm) -> None:
        issuer.signer = Signer(algorithm)
        token = open_verifier(issuer, follow_revocations=False).verify(issuer.token(more={"list": [1, {"a": [2]}]}))
        assert (token.subject, token.client_id, token.session_id) == (SUBJECT, "twinauth", SESSION)
        assert token.scopes == {"orders:read", "orders:write"}
        assert token.roles == {"admin"}
        assert (token.issued_at.timestamp(), token.expires_at.timestamp()) == (NOW, NOW + 900)
        assert token.token_id == token.claims["jti"] == "a token"
        assert token.claims["more"]["list"] == (1, {"a": (2,)})

    def test_of_service_clients_have_no_session(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        token = verifier.verify(
            issuer.token(sid=ABSENT, roles=ABSENT, scope=ABSENT, sub="a client", client_id="a client")
        )
        assert (token.session_id, token.scopes, token.roles) == (None, frozenset(), frozenset())

    def test_cannot_be_changed_by_one_request_for_the_next(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        token = verifier.verify(issuer.token(more={"list": [1]}))
        frozen: Any = token
        with pytest.raises(AttributeError):
            frozen.subject = "root"
        with pytest.raises(TypeError):
            frozen.claims["sub"] = "root"
        with pytest.raises(TypeError):
            frozen.claims["more"]["list"] = []

    def test_show_no_claims_in_a_log(self, verifier: AnyVerifier, issuer: Issuer) -> None:
        assert "canary" not in repr(verifier.verify(issuer.token(email="canary@example.com")))
