"""Access tokens for the tests of your own service: no issuer, no network."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from twinauth_verify.asynchronous import AsyncVerifier
from twinauth_verify.revocations import SESSION, SUBJECT, TOKEN, Revocation, Revocations, hash_of
from twinauth_verify.synchronous import Verifier
from twinauth_verify.tokens import MAX_LIFETIME

_ALWAYS = 2**40


class TokenMinter:
    """An issuer in the test's own process. Its verifiers trust it alone, and know its revocations at once."""

    def __init__(
        self,
        issuer: str = "https://issuer.test",
        audience: str = "https://service.test",
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._kid = str(uuid.uuid4())
        self._private_key = ec.generate_private_key(ec.SECP256R1())
        self._revocations = Revocations(clock=clock, clock_skew=0.0)
        self._not_before: dict[str, int] = {}

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key, as an issuer publishes it."""
        members = ECAlgorithm.to_jwk(self._private_key.public_key(), as_dict=True)
        return {"keys": [{**members, "kid": self._kid, "use": "sig", "alg": "ES256", "key_ops": ["verify"]}]}

    def mint(
        self,
        *,
        subject: str = "user",
        scopes: Iterable[str] = (),
        roles: Iterable[str] = (),
        ttl: int = 300,
        **claims: Any,
    ) -> str:
        """Make a token. ``claims`` replace any claim; one that is None is left out."""
        issued_at = max(int(self._clock()), self._not_before.get(subject, 0))
        all_claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "client_id": "tests",
            "iat": issued_at,
            "exp": issued_at + ttl,
            "jti": str(uuid.uuid4()),
            "sid": str(uuid.uuid4()),
            "scope": " ".join(scopes) or None,
            "auth_time": issued_at,
            "roles": list(roles) or None,
        } | claims
        payload = {name: value for name, value in all_claims.items() if value is not None}
        headers = {"typ": "at+jwt", "kid": self._kid}
        return jwt.encode(payload, self._private_key, algorithm="ES256", headers=headers)

    def verifier(self) -> Verifier:
        """Make a verifier for threads."""
        made = Verifier(
            issuer=self._issuer,
            audience=self._audience,
            clock=self._clock,
            transport=self._transport(),
            follow_revocations=False,
        )
        made.validator.revocations = self._revocations
        return made

    def async_verifier(self) -> AsyncVerifier:
        """Make a verifier for asynchronous code."""
        made = AsyncVerifier(
            issuer=self._issuer,
            audience=self._audience,
            clock=self._clock,
            transport=self._transport(),
            follow_revocations=False,
        )
        made.validator.revocations = self._revocations
        return made

    def revoke_session(self, session_id: str) -> None:
        """End a session, as a logout does."""
        self._revoke(SESSION, session_id)

    def revoke_subject(self, subject: str) -> None:
        """Revoke all tokens of a user until now, as a new password does; tokens minted later are valid."""
        not_before = int(self._clock()) + 1
        self._not_before[subject] = not_before
        self._revoke(SUBJECT, subject, not_before=not_before)

    def revoke_token(self, token_id: str) -> None:
        """Revoke one token, by its `jti`."""
        self._revoke(TOKEN, token_id)

    def _revoke(self, kind: str, value: str, *, not_before: int = _ALWAYS) -> None:
        expires_at = int(self._clock()) + 2 * MAX_LIFETIME
        entry = Revocation(kind=kind, value_hash=hash_of(value), not_before=not_before, expires_at=expires_at)
        self._revocations.add([entry])

    def _transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(self.jwks)))
