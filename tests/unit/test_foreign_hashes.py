"""Hashes that users bring along from Flask and Django, made by those who store them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from argon2 import PasswordHasher as Argon2
from passlib.hash import django_pbkdf2_sha256
from werkzeug.security import generate_password_hash

from core.authentication.passwords.foreign import in_own_form
from core.authentication.passwords.hasher import PasswordHasher
from core.settings.groups import PasswordSettings

PASSWORD, OTHER = "correct horse battery staple", "correct horse battery stapler"
HASHER = PasswordHasher(PasswordSettings(bcrypt_cost=4, hash_concurrency=1))


def django_scrypt(password: str) -> str:
    """As Django's own hasher writes it; 64 bytes."""
    digest = hashlib.scrypt(password.encode(), salt=b"seasalt", n=1 << 12, r=8, p=5, maxmem=1 << 27, dklen=64)
    return f"scrypt${1 << 12}$seasalt$8$5${base64.b64encode(digest).decode()}"


HASHES = {
    "werkzeug scrypt": generate_password_hash(PASSWORD, "scrypt:4096:8:1"),
    "werkzeug pbkdf2 sha256": generate_password_hash(PASSWORD, "pbkdf2:sha256:2000"),
    "werkzeug pbkdf2 sha512": generate_password_hash(PASSWORD, "pbkdf2:sha512:2000"),
    "django pbkdf2": django_pbkdf2_sha256.using(rounds=2000).hash(PASSWORD),
    "django scrypt": django_scrypt(PASSWORD),
    "django argon2": "argon2" + Argon2(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD),
}
each = pytest.mark.parametrize("stored", HASHES.values(), ids=HASHES.keys())


@each
def test_the_password_is_right_and_no_other_is(stored: str) -> None:
    assert HASHER.verify(PASSWORD, stored)
    assert not HASHER.verify(OTHER, stored)


@each
def test_the_next_login_stores_a_hash_of_today(stored: str) -> None:
    assert HASHER.needs_upgrade(stored)


@each
def test_one_that_is_damaged_lets_nobody_in(stored: str) -> None:
    for damaged in (stored[:-1], stored[:-4] + "AAAA", stored.replace("$", "", 1), stored + "\n", " " + stored):
        assert not HASHER.verify(PASSWORD, damaged), damaged


@pytest.mark.parametrize(
    "stored",
    [
        f"scrypt:{1 << 19}:8:1$salt${'0' * 128}",
        f"scrypt:4097:8:1$salt${'0' * 128}",
        f"scrypt:4096:32:1$salt${'0' * 128}",
        f"scrypt:4096:8:16$salt${'0' * 128}",
        f"scrypt:0:8:1$salt${'0' * 128}",
        f"pbkdf2:sha256:9000000$salt${'0' * 64}",
        f"pbkdf2:sha256:0$salt${'0' * 64}",
        f"pbkdf2:sha512:2000$salt${'0' * 64}",
        f"pbkdf2:md5:2000$salt${'0' * 64}",
        "argon2$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAA",
    ],
)
def test_one_that_would_cost_too_much_or_cannot_be_is_never_computed(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashlib, "scrypt", None)
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", None)
    assert not HASHER.verify(PASSWORD, stored)


@pytest.mark.parametrize("text", ["", "x", "scrypt:::$$", "$2b$12$" + "A" * 53, "pbkdf2_sha256$1$s$" + "=" * 44])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert in_own_form(text) == text
