"""Passwords: the policy, the hashes, and the bounded line in which hashing waits."""

import os
import re
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

import structlog
from passlib.context import CryptContext

from core.errors import FieldError, InvalidInput, Overloaded
from core.settings import PasswordSettings

T = TypeVar("T")

MAX_CHARACTERS = 128  # code points, which are at most 512 bytes
# Code points as typed: taken apart, a character is four of them at most. What is longer is refused unread, because NFC
# sorts marks with the square of their number: 1.7 s for a body of 64 KiB, in which Python does nothing else.
MAX_TYPED = 4 * MAX_CHARACTERS

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

log = structlog.get_logger("passwords")


def normalise(password: str) -> str:
    """NFC, otherwise exactly as typed: the same key presses on another keyboard log in (NIST SP 800-63B 3.1.1.2).

    For no more than `MAX_TYPED` code points.
    """
    return unicodedata.normalize("NFC", password)


_TOO_LONG = "password_too_long", f"A password has at most {MAX_CHARACTERS} characters."


def check_policy(password: str, *, minimum: int, address: str, field: str) -> None:
    """Refuse a new password that is short, long, common, or made of the address (NIST SP 800-63B-4 3.1.1.2).

    There are no composition rules, and length counts code points.

    Raises:
        InvalidInput: names ``field`` and the one reason.

    """
    reason = _weakness(password, minimum=minimum, address=address)
    if reason:
        code, message = reason
        raise InvalidInput(FieldError(field=field, code=code, message=message))


def _weakness(typed: str, *, minimum: int, address: str) -> tuple[str, str] | None:
    if len(typed) > MAX_TYPED:
        return _TOO_LONG
    password = normalise(typed)
    if len(password) < minimum:
        return "password_too_short", f"A password has at least {minimum} characters."
    if len(password) > MAX_CHARACTERS:
        return _TOO_LONG
    if _contains_address(password, address):
        return "password_contains_email", "A password must not contain the e-mail address."
    if _is_common(password):
        return "password_too_common", "This password is among the first that an attacker tries."
    return None


def _contains_address(password: str, address: str) -> bool:
    lowered, whole = password.lower(), address.lower()
    local = whole.partition("@")[0]
    # A short local part such as "al" stands in half of all words and says nothing.
    return whole in lowered or (len(local) >= 4 and local in lowered)  # noqa: PLR2004


_PADDING = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def _is_common(password: str) -> bool:
    """Whether it is a known password or word, bare, repeated, or padded with digits and signs at its ends."""
    lowered = password.lower()
    unit = _repeated_unit(lowered)
    is_keyboard_hammering = unit.isascii() and len(unit) <= 3  # noqa: PLR2004 - aaaa..., 123123...
    return is_keyboard_hammering or not _common().isdisjoint((lowered, unit, _PADDING.sub("", unit)))


def _repeated_unit(text: str) -> str:
    """The shortest string whose repetition is ``text``: ``abcabc`` gives ``abc``. Linear in the length."""
    return text[: (text + text).index(text, 1)]


@cache
def _common() -> frozenset[str]:
    """About 90,000 leaked passwords, words and names; some 3,900 of them have twelve characters or more."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - 0.2 s and 10 MB, only where a policy is asked

    return frozenset({"twinauth"}).union(word for words in FREQUENCY_LISTS.values() for word in words if len(word) >= 4)  # noqa: PLR2004


FREE_THREADS = 32


def threads(settings: PasswordSettings) -> int:
    """The threads that a serving process needs: those that hash or wait for it, and some for everybody else."""
    return settings.hash_concurrency + settings.hash_queue + FREE_THREADS


# Whoever else wants the core goes first: under a storm of logins the 99th percentile of whoami fell from 96 to 12 ms
# at the FastAPI door and from 46 to 14 at the Flask door, on two cores.
NICENESS = 10


def _step_back() -> None:
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class HashingLine:
    """At most ``cores`` hashes run at once, at most ``places`` more wait; whoever comes then is told to come again.

    A hash costs a quarter of a second of one core and releases the GIL. More of them at once than cores only make
    each slower, and threads that wait without bound are threads that no other request gets. Who waits goes in the order
    of coming, and hashes run in threads that let everybody else go first.
    """

    def __init__(self, *, cores: int, places: int) -> None:
        self._places = threading.BoundedSemaphore(cores + places)
        self._workers = ThreadPoolExecutor(cores, "hashing", _step_back)

    def require_room(self) -> None:
        """Find out early that the line is full, before anything else is done for who will be sent away.

        Raises:
            Overloaded: it is.

        """
        if not self._places.acquire(blocking=False):
            raise Overloaded
        self._places.release()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run ``function`` when its turn has come, and wait for that.

        Raises:
            Overloaded: the line is full.

        """
        if not self._places.acquire(blocking=False):
            raise Overloaded
        try:
            return self._workers.submit(copy_context().run, function, *arguments).result()
        finally:
            self._places.release()


class PasswordHasher:
    """Hashes and verifies, always at full cost and never outside the line."""

    def __init__(self, settings: PasswordSettings) -> None:
        self._context = _context(settings)
        self._floors = _costs(settings)
        self._line = HashingLine(cores=settings.hash_concurrency, places=settings.hash_queue)

    def require_room(self) -> None:
        """Find out early that too many are waiting.

        Raises:
            Overloaded: they are.

        """
        self._line.require_room()

    def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            Overloaded: too many are waiting.

        """
        return str(self._line.run(self._context.hash, normalise(password)))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether ``password`` is the one behind ``stored``; None stands for an unknown user.

        That costs what a stored hash of today's scheme and cost costs. One of another scheme or cost takes its own
        time until its owner's next login has upgraded it.

        A stored hash that is foreign, damaged or dearer than the ceilings verifies nothing.

        Raises:
            Overloaded: too many are waiting.

        """
        usable = stored is not None and self._usable(stored)
        return self._line.run(self._is_behind, normalise(password), stored if usable else None)

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
