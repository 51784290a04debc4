"""Compact JWS (RFC 7515), in the one form that this issuer writes."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.exceptions import PyJWTError
from jwt.utils import base64url_decode, base64url_encode

from twinauth_verify.keys import MAX_KID, Key
from twinauth_verify.strict_json import strict_object, text

HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_JWS = jwt.PyJWS()


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWS whose form and header are in order; its signature has not been verified."""

    text: str
    algorithm: str
    kid: str


def read_jws(compact: str, *, types: Collection[str], max_characters: int) -> Jws:
    """Read the header. It must have exactly the known members, so it cannot bring its own key or the address of one.

    That refuses ``jku``, ``x5u``, ``jwk``, ``crit``, ``b64`` and ``zip`` before anything could act on them.

    Raises:
        ValueError: it has another form.

    """
    parts = _COMPACT.fullmatch(compact) if len(compact) <= max_characters else None
    if parts is None or not all(map(_is_canonical, parts.groups())):
        raise ValueError("not a compact JWS")
    header = strict_object(base64url_decode(parts[1]), max_depth=1)
    if header.keys() != HEADER_MEMBERS:
        raise ValueError("unexpected header")
    kid = text(header, "kid")
    if len(kid) > MAX_KID or text(header, "typ").lower() not in types:
        raise ValueError("of another type")
    return Jws(compact, text(header, "alg"), kid)


def payload_of(jws: Jws, key: Key) -> dict[str, Any]:
    """Verify the signature and read the payload.

    Raises:
        ValueError: the signature is not this key's, or the payload is no strict JSON object.

    """
    if jws.kid != key.kid or jws.algorithm != key.algorithm:
        raise ValueError("not this key")
    try:
        payload: bytes = _JWS.decode(jws.text, key.jwk, algorithms=[key.algorithm])
    except (PyJWTError, TypeError, KeyError):
        raise ValueError("signature") from None
    return strict_object(payload)


def types_of(name: str) -> frozenset[str]:
    """Return both forms of a type in a header, without and with the prefix (RFC 7515 section 4.1.9)."""
    return frozenset({name, f"application/{name}"})


def _is_canonical(part: str) -> bool:
    """Whether re-encoding gives the same text: PyJWT 2.15.1 accepts several spellings of one token."""
    return base64url_encode(base64url_decode(part)).decode() == part
