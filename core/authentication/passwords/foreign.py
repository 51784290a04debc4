"""Hashes as Werkzeug and Django store them, in the form that libpass verifies. Cost and digest stay as they are.

A user who moves in logs in with the old password, and the login stores a hash of today's scheme.
"""

import base64
import binascii
import re
from collections.abc import Callable

from passlib.utils.binary import ab64_encode, b64s_encode

_SALT = r"([^$\s]{1,64})"
_FORMS: dict[str, str] = {
    "werkzeug pbkdf2": rf"pbkdf2:(sha256|sha512):([0-9]{{1,7}})\${_SALT}\$([0-9a-f]{{64,128}})",
    "werkzeug scrypt": rf"scrypt:([0-9]{{1,7}}):([0-9]{{1,2}}):([0-9]{{1,2}})\${_SALT}\$([0-9a-f]{{128}})",
    "django pbkdf2": rf"pbkdf2_(sha256)\$([0-9]{{1,7}})\${_SALT}\$([A-Za-z0-9+/]{{43}}=)",
    "django scrypt": rf"scrypt\$([0-9]{{1,7}})\${_SALT}\$([0-9]{{1,2}})\$([0-9]{{1,2}})\$([A-Za-z0-9+/]{{86}}==)",
    "django argon2": r"argon2(\$argon2id\$[!-~]+)",
}
_PATTERNS = {name: re.compile(form) for name, form in _FORMS.items()}
# libpass compares 32 bytes of scrypt. The 64 that the others store begin with the same: the last step of scrypt is
# PBKDF2 (RFC 7914 section 6), which makes them block by block.
_SCRYPT_BYTES = 32


def in_own_form(stored: str) -> str:
    """Return a stored hash in the form of libpass; any other text, and what only looks like one, as it is."""
    for name, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(stored):
            try:
                return _TRANSLATIONS[name](*match.groups())
            except (ValueError, binascii.Error):
                return stored
    return stored


def _pbkdf2(algorithm: str, rounds: str, salt: str, digest: bytes) -> str:
    return f"$pbkdf2-{algorithm}${int(rounds)}${ab64_encode(salt.encode()).decode()}${ab64_encode(digest).decode()}"


def _scrypt(cost: str, block_size: str, parallelism: str, salt: str, digest: bytes) -> str:
    rounds = int(cost).bit_length() - 1
    if int(cost) != 1 << rounds:
        raise ValueError("no power of two")
    parameters = f"ln={rounds},r={int(block_size)},p={int(parallelism)}"
    parts = (b64s_encode(part).decode() for part in (salt.encode(), digest[:_SCRYPT_BYTES]))
    return "$".join(("$scrypt", parameters, *parts))


_TRANSLATIONS: dict[str, Callable[..., str]] = {
    "werkzeug pbkdf2": lambda name, rounds, salt, digest: _pbkdf2(name, rounds, salt, bytes.fromhex(digest)),
    "werkzeug scrypt": lambda cost, size, lanes, salt, digest: _scrypt(cost, size, lanes, salt, bytes.fromhex(digest)),
    "django pbkdf2": lambda name, rounds, salt, digest: _pbkdf2(name, rounds, salt, base64.b64decode(digest)),
    "django scrypt": lambda cost, salt, size, lanes, digest: _scrypt(cost, size, lanes, salt, base64.b64decode(digest)),
    "django argon2": lambda own: own,
}
