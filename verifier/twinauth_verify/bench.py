"""The judgement of a token, the same for threads and for tasks: everything but the waiting."""

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
class Case:
    """A token whose key is known by name. It has been verified before, or its header has been read."""

    digest: bytes
    kid: str
    jws: Jws | None
    verified: _Verified | None


class Bench:
    """What a verifier knows: keys, revocations, and the tokens that it has verified."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        self.keys = KeyCache(settings, timer)
        self.revocations = Revocations(clock=clock, clock_skew=settings.clock_skew)
        self.feed = Feed(settings, self.revocations, clock=clock, timer=timer) if settings.follow_revocations else None
        self._clock = clock
        self._expectations = settings.expectations
        self._verified: Lru[bytes, _Verified] = Lru(settings.cached_tokens)

    @property
    def remembered_tokens(self) -> int:
        """How many verified tokens are remembered."""
        return len(self._verified)

    def open(self, text: str) -> Case:
        """Read a token as far as is needed to know its key.

        Raises:
            InvalidToken: it is malformed.

        """
        digest = _digest(text)
        verified = self._verified.get(digest)
        if verified is not None:
            return Case(digest, verified.key.kid, None, verified)
        jws = read_token(text)
        return Case(digest, jws.kid, jws, None)

    def judge(self, case: Case, key: Key | None) -> AccessToken:
        """Say what a token says, if it is to be trusted now.

        A signature is verified once. Its key, the times and the revocations are looked at on each use.

        Raises:
            InvalidToken: it is not.
            Unavailable: that cannot be known, because the revocations are stale.

        """
        token = self._token(case, key)
        check_times(token, self._expectations, self._clock())
        if self.feed is not None and self.feed.is_stale:
            raise Unavailable
        if self.revocations.contain(token):
            raise InvalidToken
        return token

    def _token(self, case: Case, key: Key | None) -> AccessToken:
        if case.verified is not None and case.verified.key == key:
            return case.verified.token
        if case.jws is None or key is None:
            raise InvalidToken  # it was verified under a key that the issuer has taken back
        token = open_token(case.jws, key, self._expectations)
        self._verified.put(case.digest, _Verified(key, token))
        return token


def _digest(text: str) -> bytes:
    """A token is remembered by a hash, so that a memory dump holds none that could be presented."""
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        raise InvalidToken
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError:
        raise InvalidToken from None
