"""Access tokens (RFC 9068): one form is accepted, every other is the same error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from twinauth_verify.errors import InvalidToken
from twinauth_verify.jws import Jws, payload_of, read_jws, types_of
from twinauth_verify.keys import Key, Keys
from twinauth_verify.strict_json import seconds, text

TYPES = types_of("at+jwt")
MAX_CHARACTERS = 8192  # a token of 10 MB takes 0.37 s to parse; the issuer's have about 600 characters
MAX_LIFETIME = 3600  # seconds; the issuer's setting allows no more

# RFC 6749 section 3.3.
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """The content of a verified token. All requests with the token share it, so it is immutable."""

    subject: str
    """The user's id; for a service client its client id."""
    client_id: str
    session_id: str | None
    """None for a service client, which has no session."""
    scopes: frozenset[str]
    roles: frozenset[str]
    auth_time: datetime | None
    """When the user logged in; None for a service client."""
    token_id: str
    issued_at: datetime
    expires_at: datetime
    claims: Mapping[str, Any] = field(repr=False, hash=False)
    """All claims, with lists as tuples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """The required issuer and audience, and the seconds by which two clocks may differ."""

    issuer: str
    audience: str
    clock_skew: float = 30.0


def verify_token(compact: str, keys: Keys, expectations: Expectations, now: float) -> AccessToken:
    """Verify a token: form, header, key, signature, claims, times. Makes no request and remembers nothing.

    Raises:
        InvalidToken: the token has a defect, whichever it is.

    """
    jws = read_token(compact)
    key = keys.get(jws.kid)
    if key is None:
        raise InvalidToken
    token = open_token(jws, key, expectations)
    check_times(token, expectations, now)
    return token


def read_token(compact: str) -> Jws:
    """Check the form of a token and read its header, which names its key.

    Raises:
        InvalidToken: the form or the header is not in order.

    """
    try:
        return read_jws(compact, types=TYPES, max_characters=MAX_CHARACTERS)
    except (ValueError, TypeError):
        raise InvalidToken from None


def open_token(jws: Jws, key: Key, expectations: Expectations) -> AccessToken:
    """Verify the signature and all claims except the times.

    Raises:
        InvalidToken: the signature or a claim is wrong.

    """
    try:
        return _token(payload_of(jws, key), expectations)
    except ValueError:
        raise InvalidToken from None


def check_times(token: AccessToken, expectations: Expectations, now: float) -> None:
    """Check that a token is valid at this time.

    Raises:
        InvalidToken: it has expired, or is not valid yet.

    """
    skew, claims = expectations.clock_skew, token.claims
    if not max(claims["iat"], claims.get("nbf", 0)) - skew <= now < claims["exp"] + skew:
        raise InvalidToken


def _token(claims: dict[str, Any], expectations: Expectations) -> AccessToken:
    issued_at, expires_at = seconds(claims, "iat"), seconds(claims, "exp")
    if text(claims, "iss") != expectations.issuer or text(claims, "aud") != expectations.audience:
        raise ValueError("of another issuer or for another audience")
    if not 0 <= expires_at - issued_at <= MAX_LIFETIME:
        raise ValueError("lives too long")
    if "nbf" in claims:
        seconds(claims, "nbf")
    return AccessToken(
        subject=text(claims, "sub"),
        client_id=text(claims, "client_id"),
        session_id=text(claims, "sid") if "sid" in claims else None,
        scopes=_scopes(claims.get("scope", "")),
        roles=_roles(claims.get("roles", [])),
        auth_time=datetime.fromtimestamp(seconds(claims, "auth_time"), UTC) if "auth_time" in claims else None,
        token_id=text(claims, "jti"),
        issued_at=datetime.fromtimestamp(issued_at, UTC),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        claims=_frozen(claims),
    )


def _scopes(value: Any) -> frozenset[str]:
    if not isinstance(value, str):
        raise ValueError("scope")  # noqa: TRY004 - callers know one error
    scopes = value.split(" ") if value else []
    if not all(map(SCOPE.fullmatch, scopes)):
        raise ValueError("scope")
    return frozenset(scopes)


def _roles(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(role, str) and role for role in value):
        raise ValueError("roles")
    return frozenset(value)


def _frozen(value: Any) -> Any:
    match value:
        case dict():
            return MappingProxyType({name: _frozen(item) for name, item in value.items()})
        case list():
            return tuple(map(_frozen, value))
        case _:
            return value
