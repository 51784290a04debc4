"""The public keys of an issuer, read from its JWKS (RFC 7517)."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from twinauth_verify.strict_json import strict_object, text

MAX_KID = 64
MIN_RSA_BITS = 2048
# A key of 16384 bits would cost a verifier a millisecond for each token that names it.
MAX_RSA_BITS = 8192
ALGORITHMS = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
# RFC 7518 section 6 and RFC 8037 section 2: members that only the issuer may know.
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class Key:
    """One public key, bound to one algorithm: a choice would allow RS-to-HS confusion."""

    kid: str
    algorithm: str
    fingerprint: bytes
    jwk: PyJWK = field(compare=False, repr=False)


Keys: TypeAlias = Mapping[str, Key]


def read_jwks(raw: bytes) -> Keys:
    """Read a JWKS, by kid. Keys of an unknown kind are ignored (RFC 7517 section 5).

    Raises:
        ValueError: it is no JWKS, none of its keys can be used, or two of them have one kid.

    """
    listed = strict_object(raw).get("keys")
    if not isinstance(listed, list):
        raise ValueError("no JWKS")  # noqa: TRY004 - callers know one error
    keys: dict[str, Key] = {}
    for members in listed:
        with contextlib.suppress(_Unusable):
            key = _key(members)
            if key.kid in keys:
                raise ValueError("two keys of one kid")
            keys[key.kid] = key
    if not keys:
        raise ValueError("no key that can be used")
    return MappingProxyType(keys)


class _Unusable(Exception):
    """A key is ignored."""


def _key(members: Any) -> Key:
    if not isinstance(members, dict) or not PRIVATE_MEMBERS.isdisjoint(members):
        raise _Unusable
    algorithm = ALGORITHMS.get(str(members.get("kty")))
    if algorithm is None or members.get("alg", algorithm) != algorithm or not _is_for_signatures(members):
        raise _Unusable
    try:
        kid, jwk = text(members, "kid"), PyJWK(members, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):
        raise _Unusable from None
    if len(kid) > MAX_KID or not _is_strong(jwk.key):
        raise _Unusable
    return Key(kid, algorithm, _fingerprint(members), jwk)


def _is_for_signatures(members: dict[str, Any]) -> bool:
    operations = members.get("key_ops", ["verify"])
    return members.get("use") == "sig" and isinstance(operations, list) and "verify" in operations


def _is_strong(key: Any) -> bool:
    match key:
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1)
        case rsa.RSAPublicKey():
            return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


def _fingerprint(members: dict[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).digest()
