"""The service's one secret, and the keys that are derived from it, one for each purpose."""

from collections.abc import Sequence
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

KEY_BYTES = 32


class KeyPurpose(StrEnum):
    """What a key is for, which is part of its derivation; docs/security.md has a row for each."""

    SIGNING_KEYS = "signing keys"
    REFRESH_TOKENS = "refresh tokens"
    LINKS = "tokens in links"
    DEVICE_TOKENS = "device tokens"
    THROTTLE = "throttle"
    LETTERS = "letters to addresses"


def derive_keys(secrets: Sequence[SecretStr], purpose: KeyPurpose) -> tuple[bytes, ...]:
    """Derive the key for ``purpose`` from each secret: the first key makes tokens, all of them verify."""
    return tuple(derive_key(secret, purpose) for secret in secrets)


def derive_key(secret: SecretStr, purpose: KeyPurpose) -> bytes:
    """Derive the 32-byte key for ``purpose`` (HKDF-SHA256, RFC 5869).

    One key for each purpose: a tag made for a refresh token is never valid for anything else.
    """
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"twinauth/{purpose}".encode())
    return hkdf.derive(secret.get_secret_value().encode())
