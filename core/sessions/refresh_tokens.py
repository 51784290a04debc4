"""Refresh tokens: opaque to the client, derived and never stored; junk is refused without a database query.

A token is four parts of fixed length, base64url without padding, after a prefix that secret scanners can find::

    twr_ | session id (16) | generation (6) | proof (16) | tag (16)

``proof`` comes from the session's random seed, which is only in the database; ``tag`` is made with a key that only
the service has. So neither the database alone nor the service's secret alone can make a token, and junk fails at the
tag before any query. Because both are functions of the session and its generation, a retry within the grace gets
*the same* successor, and no successor is stored.
"""

import base64
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from core.sessions.errors import InvalidRefreshToken

PREFIX = "twr_"
SEED_BYTES = 16
GENERATION_BYTES = 6
_ID_END = 16
_GENERATION_END = _ID_END + GENERATION_BYTES
_PROOF_END = _GENERATION_END + 16
# 54 bytes are 72 characters with no spare bits, so that every token has exactly one spelling.
_BYTES = _PROOF_END + 16
_FORM = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{{_BYTES * 4 // 3}}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A token with a valid tag: this service made it, for this session and generation."""

    session_id: uuid.UUID
    generation: int
    proof: bytes

    def belongs_to(self, seed: bytes) -> bool:
        """Whether the proof was made from this session's seed."""
        return hmac.compare_digest(self.proof, _proof(seed, self.generation))


class RefreshTokens:
    """Makes refresh tokens under the first of its derived keys, and reads those of all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make(self, session_id: uuid.UUID, seed: bytes, generation: int) -> str:
        """Make the token of a session and generation; the same arguments give the same token."""
        body = session_id.bytes + generation.to_bytes(GENERATION_BYTES) + _proof(seed, generation)
        return PREFIX + base64.urlsafe_b64encode(body + _tag(self._keys[0], body)).decode()

    def read(self, text: str) -> RefreshToken:
        """Parse a token and check its tag.

        Raises:
            InvalidRefreshToken: this service did not make it.

        """
        # The form is checked first, because the decoder also accepts "+" and "/": a token has one spelling.
        match = _FORM.fullmatch(text)
        if match is None:
            raise InvalidRefreshToken
        raw = base64.urlsafe_b64decode(match[1])
        body, tag = raw[:_PROOF_END], raw[_PROOF_END:]
        if not any(hmac.compare_digest(tag, _tag(key, body)) for key in self._keys):
            raise InvalidRefreshToken
        return RefreshToken(
            session_id=uuid.UUID(bytes=body[:_ID_END]),
            generation=int.from_bytes(body[_ID_END:_GENERATION_END]),
            proof=body[_GENERATION_END:],
        )


def new_seed() -> bytes:
    """Make 128 random bits for a new session."""
    return secrets.token_bytes(SEED_BYTES)


def _tag(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:16]


def _proof(seed: bytes, generation: int) -> bytes:
    return hmac.digest(seed, generation.to_bytes(GENERATION_BYTES), hashlib.sha256)[:16]
