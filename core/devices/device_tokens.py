"""The tokens of devices: an id and a tag, so that junk and forgeries are told without a database query.

A token is 32 bytes in base64url without padding, after a prefix that secret scanners can find::

    twd_ | device id (16) | tag (16)

It is no credential: it is a cookie against denial of service by wrong passwords (OWASP, "device cookies").
"""

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Sequence

PREFIX = "twd_"
_ID_BYTES = 16
# The last of 43 characters has two spare bits, which are zero in the one spelling that a token has.
_FORM = re.compile(rf"{PREFIX}([A-Za-z0-9_-]{{42}}[AEIMQUYcgkosw048])")


class DeviceTokens:
    """Makes tokens under the first of its derived keys, and reads those of all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def make(self, device_id: uuid.UUID) -> str:
        """Make the token of a device."""
        raw = device_id.bytes + _tag(self._keys[0], device_id.bytes)
        return PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def read(self, text: str) -> uuid.UUID | None:
        """Return the id of the device, or None if this service did not make the token."""
        match = _FORM.fullmatch(text)
        if match is None:
            return None
        raw = base64.urlsafe_b64decode(match[1] + "=")
        device_id, tag = raw[:_ID_BYTES], raw[_ID_BYTES:]
        is_ours = any(hmac.compare_digest(tag, _tag(key, device_id)) for key in self._keys)
        return uuid.UUID(bytes=device_id) if is_ours else None


def _tag(key: bytes, device_id: bytes) -> bytes:
    return hmac.digest(key, device_id, hashlib.sha256)[:16]
