"""Access tokens: JWTs after RFC 9068, issued under the key ring and verified strictly."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from jwt.utils import base64url_decode, base64url_encode

from core.clock import Clock
from core.errors import InvalidToken
from core.settings.groups import MAX_ACCESS_TTL, TokenSettings
from core.strict_json import strict_loads
from core.tokens.access import Access, Login
from core.tokens.key_ring import KeyRing
from core.users.model import User

TYPE = "at+jwt"
# RFC 9068 section 4 allows the media type with or without its prefix.
ACCEPTED_TYPES = (TYPE, f"application/{TYPE}")
HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})
MAX_CHARACTERS = 8192  # a token of 10 MB takes 0.37 s to parse; ours have about 600 characters
MAX_KID = 64
# How far the clock of another replica that issues tokens may be ahead of ours.
SKEW = timedelta(seconds=30)

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """The claims of every verified access token."""

    subject: str
    client_id: str
    token_id: str
    audience: str
    scope: str | None
    roles: tuple[str, ...] | None
    auth_time: datetime | None
    issued_at: datetime
    expires_at: datetime

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes, one by one."""
        return frozenset((self.scope or "").split())


@dataclass(frozen=True, slots=True, kw_only=True)
class UserClaims(AccessClaims):
    """The claims of a user's token, which belongs to one session."""

    user_id: uuid.UUID
    session_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientClaims(AccessClaims):
    """The claims of a service client's token, which has no session."""


class AccessTokens:
    """Issues and verifies access tokens of one issuer, each for one of its audiences."""

    def __init__(self, *, ring: KeyRing, clock: Clock, issuer: str, settings: TokenSettings) -> None:
        self._ring = ring
        self._clock = clock
        self._issuer = issuer
        self._own_audience = (settings.audience,)
        self._audiences = settings.audiences
        self.client_id = settings.client_id
        self._lifetime = settings.access_ttl
        self._jws = jwt.PyJWS()

    def issue(
        self, user: User, session_id: uuid.UUID, login: Login, access: Access, *, now: datetime, not_after: datetime
    ) -> tuple[str, datetime]:
        """Issue a token for a session of a user; return it with its expiry, never later than ``not_after``."""
        claims = {
            "sub": str(user.id),
            "client_id": self.client_id,
            "sid": str(session_id),
            "auth_time": int(login.at.timestamp()),
            "amr": list(login.methods),
            "roles": list(user.roles),
        }
        return self._sign(claims, access, now, not_after)

    def issue_to_client(self, client_id: str, access: Access, *, now: datetime) -> tuple[str, datetime]:
        """Issue a token for a service client, which is its own subject (RFC 9068 section 2.2)."""
        return self._sign({"sub": client_id, "client_id": client_id}, access, now, now + self._lifetime)

    def _sign(self, claims: dict[str, Any], access: Access, now: datetime, not_after: datetime) -> tuple[str, datetime]:
        expires_at = min(now + self._lifetime, not_after).replace(microsecond=0)  # `exp` is in whole seconds
        # Lists without an element are left out: RFC 9068 has no such value, and validators of others refuse it.
        claims = {name: value for name, value in {**claims, "scope": access.scope}.items() if value}
        common = {
            "iss": self._issuer,
            "aud": access.audience,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(uuid.uuid4()),
        }
        key, private_key = self._ring.signer()
        header = {"typ": TYPE, "kid": key.kid}
        return jwt.encode({**common, **claims}, private_key, algorithm=key.algorithm, headers=header), expires_at

    def verify(self, text: str) -> UserClaims | ClientClaims:
        """Verify a token that was issued for this service itself: form, header, key, signature, claims, times.

        A token that was shown to another service is no key to the account. The caller checks in the store whether
        its session has ended or it was revoked.

        Raises:
            InvalidToken: the same for every defect, so that an attacker learns nothing from it.

        """
        return self._verify(text, self._own_audience)

    def verify_for_any(self, text: str) -> UserClaims | ClientClaims:
        """Do the same for a token of any audience.

        Raises:
            InvalidToken: as above.

        """
        return self._verify(text, self._audiences)

    def _verify(self, text: str, audiences: Collection[str]) -> UserClaims | ClientClaims:
        try:
            key = self._key_of(text)
            # One key, one algorithm: a list that mixed families would allow RS-to-HS confusion.
            payload = self._jws.decode(text, key, algorithms=[key.algorithm_name])
            return self._claims(strict_loads(payload), audiences)
        except (PyJWTError, ValueError, TypeError, KeyError):
            raise InvalidToken from None

    def _key_of(self, text: str) -> PyJWK:
        """Find the key in our own ring, by a header that must have exactly the known members.

        That refuses ``jku``, ``x5u``, ``jwk``, ``crit``, ``b64`` and ``zip`` before anything could act on them.
        """
        parts = _COMPACT.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
        if parts is None or not all(map(_is_canonical, parts.groups())):
            raise ValueError("not a compact JWS")
        header = strict_loads(base64url_decode(parts[1]), max_depth=1)
        if not isinstance(header, dict) or header.keys() != HEADER_MEMBERS:
            raise ValueError("unexpected header")
        kid, kind = _text(header, "kid"), _text(header, "typ")
        if len(kid) > MAX_KID or kind.lower() not in ACCEPTED_TYPES:
            raise ValueError("not one of our access tokens")
        key = self._ring.verifier(kid)
        if key is None or header["alg"] != key.algorithm_name:
            raise ValueError("no such key for this algorithm")
        return key

    def _claims(self, claims: dict[str, Any], audiences: Collection[str]) -> UserClaims | ClientClaims:
        now = self._clock.now()
        issued_at, expires_at = _time(claims, "iat"), _time(claims, "exp")
        if _text(claims, "iss") != self._issuer or _text(claims, "aud") not in audiences:
            raise ValueError("of another issuer or for another audience")
        if not issued_at - SKEW <= now < expires_at or expires_at - issued_at > MAX_ACCESS_TTL:
            raise ValueError("not now")
        if "nbf" in claims and now < _time(claims, "nbf"):
            raise ValueError("not yet")
        common: dict[str, Any] = {
            "subject": _text(claims, "sub"),
            "client_id": _text(claims, "client_id"),
            "token_id": _text(claims, "jti"),
            "audience": _text(claims, "aud"),
            "scope": _text(claims, "scope") if claims.get("scope") else None,
            "roles": _texts(claims, "roles") if "roles" in claims else None,
            "auth_time": _time(claims, "auth_time") if "auth_time" in claims else None,
            "issued_at": issued_at,
            "expires_at": expires_at,
        }
        # A user's token has a session and a user; a client's has neither, and the client is its subject.
        if "sid" in claims:
            session_id = uuid.UUID(_text(claims, "sid"))
            return UserClaims(user_id=uuid.UUID(common["subject"]), session_id=session_id, **common)
        if common["subject"] != common["client_id"]:
            raise ValueError("neither a user's nor a client's")
        return ClientClaims(**common)


def _is_canonical(part: str) -> bool:
    """Whether re-encoding gives the same text: PyJWT 2.15.1 accepts several spellings of one token."""
    return base64url_encode(base64url_decode(part)).decode() == part


def _text(members: dict[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value:
        raise TypeError(name)
    return value


def _texts(members: dict[str, Any], name: str) -> tuple[str, ...]:
    values = members[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(name)
    return tuple(values)


def _time(members: dict[str, Any], name: str) -> datetime:
    """Read a NumericDate (RFC 7519 section 2) that must be a whole JSON number; true and "1" are none."""
    value = members[name]
    if type(value) is not int or not 0 <= value < 2**40:
        raise TypeError(name)
    return datetime.fromtimestamp(value, UTC)
