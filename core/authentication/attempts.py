"""Attempts to prove a password, as the throttle and the hash pool let them through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.authentication.passwords.fair_queue import Requester
from core.authentication.passwords.hasher import PasswordHasher
from core.origin import Origin
from core.throttling.model import block_of
from core.throttling.throttle import Attempt, Throttle
from core.users.addresses import canonical_or_none


class PasswordAttempts:
    """Lets an attempt through when neither the throttle nor the hash pool is against it."""

    def __init__(self, *, passwords: PasswordHasher, throttle: Throttle) -> None:
        self._passwords = passwords
        self._throttle = throttle

    @contextmanager
    def attempt(self, email: str, origin: Origin) -> Iterator[Attempt]:
        """Let one attempt through: first the throttle's look, then a place for its hash, then it is counted.

        A caller who has to wait anyway takes no place, and one who gets no place is not counted. The attempt is taken
        back if the check raises; otherwise the caller records its outcome.

        Raises:
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        keys = self._throttle.keys_of_password(email, origin)
        self._throttle.look(keys, origin)
        with self._passwords.reserve(requester(email, origin)), self._throttle.attempt(keys, origin) as attempt:
            yield attempt


def requester(email: str, origin: Origin) -> Requester:
    """Return who asks for a hash: an address that was typed, from a block."""
    return Requester(block=block_of(origin.ip), account=canonical_or_none(email) or "")
