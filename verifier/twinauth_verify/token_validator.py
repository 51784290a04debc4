"""How a token is validated, the same for threads and for tasks: everything except the waiting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from twinauth_verify.errors import InvalidToken, Unavailable
from twinauth_verify.feed import Feed
from twinauth_verify.jws import Jws
from twinauth_verify.key_cache import KeyCache
from twinauth_verify.keys import Key
from twinauth_verify.lru import Lru
from twinauth_verify.revocations import Revocations
from twinauth_verify.settings import Settings
from twinauth_verify.tokens import MAX_CHARACTERS, AccessToken, check_times, open_token, read_token


@dataclass(frozen=True, slots=True)
class _Verified:
    key: Key
    token: AccessToken


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token whose key id is known: it has been verified before, or its header has been read."""

    digest: bytes
    kid: str
    jws: Jws | None
    verified: _Verified | None


class TokenValidator:
    """Validates tokens with the keys, the revocations and the cache of tokens that were verified before."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        self.revocations = Revocations(clock=clock, clock_skew=settings.clock_skew)
        self.keys = KeyCache(settings, self.revocations, timer)
        self.feed = Feed(settings, self.revocations, clock=clock, timer=timer) if settings.follow_revocations else None
        self._clock = clock
        self._expectations = settings.expectations
        self._verified: Lru[bytes, _Verified] = Lru(settings.cached_tokens)

    def now(self) -> float:
        """The time by the verifier's clock, in seconds since 1970."""
        return self._clock()

    @property
    def remembered_tokens(self) -> int:
        """The number of verified tokens in the cache."""
        return len(self._verified)

    def parse(self, text: str) -> ParsedToken:
        """Read a token as far as its key id.

        Raises:
            InvalidToken: it is malformed.

        """
        digest = _digest(text)
        verified = self._verified.get(digest)
        if verified is not None:
            return ParsedToken(digest, verified.key.kid, None, verified)
        jws = read_token(text)
        return ParsedToken(digest, jws.kid, jws, None)

    def validate(self, parsed: ParsedToken, key: Key | None) -> AccessToken:
        """Return the token's content if the token is valid now.

        The signature is verified once; the key, the times and the revocations are checked on each use.

        Raises:
            InvalidToken: the token is not valid.
            Unavailable: the revocations are stale, so the token may have been revoked.

        """
        token = self._verified_token(parsed, key)
        check_times(token, self._expectations, self._clock())
        if self.feed is not None and self.feed.is_stale:
            raise Unavailable
        if self.revocations.contain(token):
            raise InvalidToken
        return token

    def _verified_token(self, parsed: ParsedToken, key: Key | None) -> AccessToken:
        if parsed.verified is not None and parsed.verified.key == key:
            return parsed.verified.token
        if parsed.jws is None or key is None:
            raise InvalidToken  # the issuer has withdrawn the key that verified it
        token = open_token(parsed.jws, key, self._expectations)
        self._verified.put(parsed.digest, _Verified(key, token))
        return token


def _digest(text: str) -> bytes:
    """Hash a token: the cache keeps hashes only, so that a memory dump has no token that could be presented."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise InvalidToken
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError:
        raise InvalidToken from None
