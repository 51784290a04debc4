"""One secret, and a key of its own for every purpose."""

import hashlib
import hmac

from pydantic import SecretStr

from core.derived_keys import KeyPurpose, derive_key

SECRET = SecretStr("0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg0")


def test_keys_are_derived_by_hkdf_sha256() -> None:
    extracted = hmac.digest(bytes(32), SECRET.get_secret_value().encode(), hashlib.sha256)
    assert derive_key(SECRET, KeyPurpose.REFRESH_TOKENS) == hmac.digest(
        extracted, b"twinauth/refresh tokens\x01", hashlib.sha256
    )


def test_each_purpose_and_each_secret_has_a_key_of_its_own() -> None:
    other = SecretStr("0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg1")
    keys = {derive_key(secret, purpose) for secret in (SECRET, other) for purpose in KeyPurpose}
    assert len(keys) == 2 * len(KeyPurpose)
