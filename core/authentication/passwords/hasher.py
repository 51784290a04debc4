"""Password hashes: made and verified at full cost, whatever is stored."""

from contextlib import AbstractContextManager
from typing import Any

import structlog
from passlib.context import CryptContext

from core.authentication.passwords.hash_pool import HashPool
from core.authentication.passwords.policy import normalise
from core.settings.groups import PasswordSettings
from core.users.model import Account

# What a stored hash may ask of this process. A row that was tampered with must not be able to ask for more
# (bcrypt cost 20 is a minute of one core, argon2 with m=4 GiB is the machine's memory).
_CEILINGS: dict[str, dict[str, int]] = {
    "bcrypt_sha256": {"rounds": 15},
    "bcrypt": {"rounds": 15},
    "argon2": {"rounds": 10, "memory_cost": 1024 * 1024, "parallelism": 16},
    "pbkdf2_sha256": {"rounds": 5_000_000},
    "pbkdf2_sha512": {"rounds": 5_000_000},
    "scrypt": {"rounds": 18, "block_size": 16, "parallelism": 4},
    "sha512_crypt": {"rounds": 1_000_000},
}

CHECKS = 2
"""How often a password is checked where its hash was replaced meanwhile: a login may upgrade it, once."""

log = structlog.get_logger("passwords")


class PasswordHasher:
    """Hashes and verifies, always at full cost and never outside the line."""

    def __init__(self, settings: PasswordSettings) -> None:
        self._context = _context(settings)
        self._floors = _costs(settings)
        self._pool = HashPool(cores=settings.hash_concurrency, places=settings.hash_queue)

    def reserve(self) -> AbstractContextManager[None]:
        """Keep a place in the line for whatever is hashed or verified meanwhile.

        Raises:
            Overloaded: too many are waiting.

        """
        return self._pool.reserve()

    def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            Overloaded: too many are waiting.

        """
        return str(self._pool.run(self._context.hash, normalise(password)))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether ``password`` is the one behind ``stored``; None stands for an unknown user.

        That costs what a stored hash of today's scheme and cost costs. One of another scheme or cost takes its own
        time until its owner's next login has upgraded it.

        A stored hash that is foreign, damaged or dearer than the ceilings verifies nothing.

        Raises:
            Overloaded: too many are waiting.

        """
        usable = stored is not None and self._usable(stored)
        return self._pool.run(self._is_behind, normalise(password), stored if usable else None)

    def matches(self, password: str, account: Account | None) -> bool:
        """Whether this is the password of an active account; None, an unknown address, costs what a known one costs.

        Raises:
            Overloaded: too many are waiting.

        """
        is_right = self.verify(password, account.password_hash if account else None)
        return is_right and account is not None and account.user.is_active

    def _is_behind(self, password: str, stored: str | None) -> bool:
        try:
            if stored is not None:
                return bool(self._context.verify(password, stored))
        except Exception:  # noqa: BLE001 - handlers raise anything on a row that was tampered with
            # Or plain bcrypt met more than 72 bytes or NUL, which it refuses in no time at all.
            log.warning("stored password hash could not be verified")
        # Hashing costs what verifying costs. A decoy hash that does not parse answers in 0.006 ms instead of 240 ms,
        # and so tells who has an account; this needs none.
        self._context.hash(password)
        return False

    def needs_upgrade(self, stored: str) -> bool:
        """Whether the hash is of another scheme or cheaper than today's; a dearer one is left as it is."""
        scheme, parsed = _parsed(self._context, stored)
        if scheme != self._context.default_scheme() or getattr(parsed, "version", 2) < 2:  # noqa: PLR2004
            return True
        return any(getattr(parsed, name) < floor for name, floor in self._floors.items())

    def _usable(self, stored: str) -> bool:
        scheme, parsed = _parsed(self._context, stored)
        usable = parsed is not None and all(
            getattr(parsed, name) <= ceiling for name, ceiling in _CEILINGS[scheme].items()
        )
        if not usable:
            log.warning("stored password hash refused")
        return usable


def _parsed(context: CryptContext, stored: str) -> tuple[str, Any]:
    """The scheme of a stored hash and its parameters, or None for them where the hash is damaged."""
    scheme = context.identify(stored)
    if scheme is None:
        return "", None
    try:
        return scheme, context.handler(scheme).from_string(stored)
    except Exception:  # noqa: BLE001 - handlers raise anything; a damaged row is nobody's password, never a 500
        return scheme, None


def _costs(settings: PasswordSettings) -> dict[str, int]:
    """What a new hash costs, in the terms of its scheme."""
    if settings.scheme == "argon2id":
        return {"rounds": settings.argon2_time, "memory_cost": settings.argon2_memory}
    return {"rounds": settings.bcrypt_cost}


def _context(settings: PasswordSettings) -> CryptContext:
    preferred = "argon2" if settings.scheme == "argon2id" else settings.scheme
    return CryptContext(
        schemes=[preferred, *(scheme for scheme in _CEILINGS if scheme != preferred)],
        default=preferred,
        bcrypt_sha256__rounds=settings.bcrypt_cost,
        argon2__type="ID",
        argon2__memory_cost=settings.argon2_memory,
        argon2__rounds=settings.argon2_time,
        argon2__parallelism=settings.argon2_parallelism,
    )
