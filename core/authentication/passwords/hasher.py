"""Password hashes: made and verified at full cost, whatever hash is stored."""

from contextlib import AbstractContextManager
from typing import Any

import structlog
from passlib.context import CryptContext

from core.authentication.passwords.fair_queue import Requester
from core.authentication.passwords.foreign import in_own_form
from core.authentication.passwords.hash_pool import HashPool
from core.authentication.passwords.policy import normalise
from core.settings.groups import PasswordSettings
from core.users.model import NO_PASSWORD, Account

# The highest cost of a stored hash. A row that was tampered with must not make this process spend more (bcrypt cost 20
# takes a minute of one core, argon2 with m=4 GiB the machine's memory).
CEILINGS: dict[str, dict[str, int]] = {
    "bcrypt_sha256": {"rounds": 15},
    "bcrypt": {"rounds": 15},
    "argon2": {"rounds": 10, "memory_cost": 1024 * 1024, "parallelism": 16},
    "pbkdf2_sha256": {"rounds": 5_000_000},
    "pbkdf2_sha512": {"rounds": 5_000_000},
    "scrypt": {"rounds": 17, "block_size": 16, "parallelism": 8},
    "sha512_crypt": {"rounds": 1_000_000},
}

CHECKS = 2
"""How often a password is checked if its hash is replaced meanwhile: a login may upgrade it, once."""

log = structlog.get_logger("passwords")


class PasswordHasher:
    """Hashes and verifies, always at full cost and always in the hash pool."""

    def __init__(self, settings: PasswordSettings) -> None:
        self._context = _context(settings)
        self._floors = _costs(settings)
        self._pool = HashPool(
            cores=settings.hash_concurrency,
            places=settings.hash_places,
            wait=settings.hash_wait.total_seconds(),
        )

    def require_room(self, requester: Requester) -> None:
        """Refuse a request for which there would be no place in the hash pool now.

        Raises:
            Overloaded: the turn would come too late.

        """
        self._pool.require_room(requester)

    def reserve(self, requester: Requester) -> AbstractContextManager[None]:
        """Take a place in the hash pool for all that this thread hashes or verifies.

        Raises:
            Overloaded: the turn would come too late.

        """
        return self._pool.reserve(requester)

    def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            Overloaded: the turn did not come in time.

        """
        return str(self._pool.run(self._context.hash, normalise(password)))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether ``password`` matches ``stored``; None stands for an unknown user.

        An unknown user costs as much as a stored hash of the current scheme and cost. A hash of another scheme or cost
        takes its own time until its owner's next login upgrades it.

        `NO_PASSWORD`, a hash of an unknown scheme, a damaged one or one above the ceilings matches no password.

        Raises:
            Overloaded: the turn did not come in time.

        """
        usable = stored is not None and stored != NO_PASSWORD and self._usable(stored)
        return self._pool.run(self._matches_hash, normalise(password), stored if usable else None)

    def matches(self, password: str, account: Account | None) -> bool:
        """Whether this is the password of an active account; None, an unknown address, costs as much as a known one.

        Raises:
            Overloaded: the turn did not come in time.

        """
        is_right = self.verify(password, account.password_hash if account else None)
        return is_right and account is not None and account.user.is_active

    def _matches_hash(self, password: str, stored: str | None) -> bool:
        try:
            if stored is not None:
                return bool(self._context.verify(password, in_own_form(stored)))
        except Exception:  # noqa: BLE001 - handlers raise anything on a row that was tampered with
            # Also bcrypt with more than 72 bytes or NUL, which it refuses at once.
            log.warning("stored password hash could not be verified")
        # Hashing takes as long as verifying. A decoy hash that does not parse would answer in 0.006 ms instead of
        # 240 ms and so reveal which accounts exist; hashing needs no decoy.
        self._context.hash(password)
        return False

    def needs_upgrade(self, stored: str) -> bool:
        """Whether the hash has another scheme or a lower cost than new ones; a higher cost stays."""
        scheme, parsed = _parsed(self._context, stored)
        if scheme != self._context.default_scheme() or getattr(parsed, "version", 2) < 2:  # noqa: PLR2004
            return True
        return any(getattr(parsed, name) < floor for name, floor in self._floors.items())

    def _usable(self, stored: str) -> bool:
        scheme, parsed = _parsed(self._context, stored)
        usable = parsed is not None and all(
            getattr(parsed, name) <= ceiling for name, ceiling in CEILINGS[scheme].items()
        )
        if not usable:
            log.warning("stored password hash refused")
        return usable


def _parsed(context: CryptContext, stored: str) -> tuple[str, Any]:
    """Return the scheme of a stored hash and its parameters, which are None if the hash is damaged."""
    own = in_own_form(stored)
    scheme = context.identify(own)
    if scheme is None:
        return "", None
    try:
        return scheme, context.handler(scheme).from_string(own)
    except Exception:  # noqa: BLE001 - handlers raise anything; a damaged row matches no password and is never a 500
        return scheme, None


def _costs(settings: PasswordSettings) -> dict[str, int]:
    """Return the cost of new hashes, in the parameters of their scheme."""
    if settings.scheme == "argon2id":
        return {"rounds": settings.argon2_time, "memory_cost": settings.argon2_memory}
    return {"rounds": settings.bcrypt_cost}


def _context(settings: PasswordSettings) -> CryptContext:
    preferred = "argon2" if settings.scheme == "argon2id" else settings.scheme
    return CryptContext(
        schemes=[preferred, *(scheme for scheme in CEILINGS if scheme != preferred)],
        default=preferred,
        bcrypt_sha256__rounds=settings.bcrypt_cost,
        argon2__type="ID",
        argon2__memory_cost=settings.argon2_memory,
        argon2__rounds=settings.argon2_time,
        argon2__parallelism=settings.argon2_parallelism,
    )
