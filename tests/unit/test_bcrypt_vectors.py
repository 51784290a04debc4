"""Hashes that an earlier service stored as plain bcrypt: our verification agrees with the vectors of pyca/bcrypt."""

import pytest

from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import normalise
from core.settings.groups import PasswordSettings
from tests.support import vectors

VECTORS = [
    (bytes.fromhex(vector["password_hex"]), vector["hash"])
    for vector in vectors.load("bcrypt/bcrypt_vectors.json")["vectors"]
]


def typed(password: bytes) -> str | None:
    """The password as text; a few vectors are bytes that no text encodes to."""
    try:
        return password.decode("utf-8")
    except UnicodeDecodeError:
        return None


CASES = [(text, stored) for password, stored in VECTORS if (text := typed(password)) is not None]


@pytest.fixture(scope="module")
def passwords() -> PasswordHasher:
    return PasswordHasher(PasswordSettings(bcrypt_cost=4))


def test_most_vectors_are_passwords_that_can_be_typed() -> None:
    assert len(CASES) == 23
    assert all(normalise(text) == text for text, _ in CASES)


@pytest.mark.parametrize(("password", "stored"), CASES, ids=[stored for _, stored in CASES])
def test_a_vector_matches_its_password_and_no_other(passwords: PasswordHasher, password: str, stored: str) -> None:
    assert passwords.verify(password, stored)
    assert not passwords.verify(password[:-1], stored)
    assert not passwords.verify(password.swapcase(), stored)
    assert passwords.needs_upgrade(stored)
