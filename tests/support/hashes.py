"""What passwords cost: the hashes that a test had computed, each counted where the library computes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import argon2
import argon2.low_level
import bcrypt
import pytest

from core.authentication.passwords.hasher import PasswordHasher
from core.settings.groups import PasswordSettings


def computed_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that are computed to their end from now on, each with the cost that it is computed at."""
    for scheme in ("bcrypt_sha256", "argon2id"):  # the libraries test themselves at their first use
        settings = PasswordSettings(scheme=scheme, bcrypt_cost=4, argon2_memory=8, argon2_time=1)
        PasswordHasher(settings).hash("a password")
    done: list[str] = []

    def spy_on(module: Any, name: str, cost_of: Callable[..., str]) -> None:
        original = getattr(module, name)

        def spy(*args: Any, **kwargs: Any) -> Any:
            try:
                result = original(*args, **kwargs)
            except argon2.exceptions.VerifyMismatchError:
                done.append(cost_of(*args, **kwargs))
                raise
            done.append(cost_of(*args, **kwargs))
            return result

        monkeypatch.setattr(module, name, spy)

    spy_on(bcrypt, "hashpw", lambda _, salt: f"bcrypt {salt.decode().split('$')[2]}")
    spy_on(
        argon2.low_level,
        "hash_secret",
        lambda *_, memory_cost, time_cost, **__: f"argon2 m={memory_cost} t={time_cost}",
    )
    spy_on(argon2.low_level, "verify_secret", lambda stored, *_: f"argon2 {stored.decode().split('$')[3]}")
    spy_on(hashlib, "pbkdf2_hmac", lambda *_: "pbkdf2")
    return done
