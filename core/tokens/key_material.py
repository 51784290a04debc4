"""Key material: making private keys, their public JWKs, and their encryption for storage."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from core.settings.groups import Algorithm
from core.tokens.errors import KeysLocked

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = 3072  # 128 bits of strength (NIST SP 800-57 table 2; ASVS 5.0 11.2.3)
NONCE_BYTES = 12


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the RFC 7638 thumbprint: SHA-256 over the required members in lexicographic order."""
    required = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in required}, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def generate(algorithm: Algorithm) -> PrivateKey:
    """Make a private key for ``algorithm``."""
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(private_key: PrivateKey, algorithm: Algorithm) -> dict[str, Any]:
    """Return the public half as a JWK (RFC 7517) with ``kid``, ``use`` and ``alg``."""
    match private_key:
        case ec.EllipticCurvePrivateKey():
            members = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        case rsa.RSAPrivateKey():
            members = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            members = OKPAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return {**members, "kid": thumbprint(members), "use": "sig", "alg": algorithm}


class Seal:
    """Encrypts private keys for storage (AES-256-GCM, bound to their kid), and decrypts those of older secrets too."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def close(self, private_key: PrivateKey, kid: str) -> bytes:
        """Encrypt a private key."""
        der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, der, kid.encode())

    def open(self, sealed: bytes, kid: str) -> PrivateKey:
        """Decrypt a private key.

        Raises:
            KeysLocked: it was encrypted under another secret.

        """
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):
                der = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], kid.encode())
                key = load_der_private_key(der, password=None)
                if isinstance(key, PrivateKey):
                    return key
        raise KeysLocked
