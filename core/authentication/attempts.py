"""Attempts to prove a password, as the throttle and the hash pool let them through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from core.authentication.passwords.fair_queue import Requester
from core.authentication.passwords.hasher import PasswordHasher
from core.devices.model import Device
from core.devices.service import DeviceService
from core.origin import Origin
from core.throttling.counters import CounterKeys
from core.throttling.model import block_of
from core.throttling.throttle import Attempt, Throttle
from core.users.addresses import canonical_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class LetThrough:
    """An attempt that was let through, and the device that it came from, if the account knows it."""

    attempt: Attempt
    device: Device | None


class PasswordAttempts:
    """Lets an attempt through when neither the throttle nor the hash pool is against it."""

    def __init__(self, *, passwords: PasswordHasher, throttle: Throttle, devices: DeviceService) -> None:
        self._passwords = passwords
        self._throttle = throttle
        self._devices = devices

    @contextmanager
    def attempt(self, email: str, origin: Origin, device_token: str | None = None) -> Iterator[LetThrough]:
        """Let one attempt through: first the throttle's look, then a place for its hash, then it is counted.

        A caller who has to wait anyway takes no place, and one who gets no place is not counted. Where there is no
        place, the throttle is not even asked: in a storm of logins its queries would be what the storm costs others.
        The attempt is taken back if the check raises; otherwise the caller records its outcome.

        Raises:
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        device = self._devices.recognise(device_token, email)
        asking = requester(email, origin, device)
        self._passwords.require_room(asking)
        keys = self._keys(email, origin, device)
        with self._passwords.reserve(asking), self._throttle.attempt(keys, origin) as attempt:
            yield LetThrough(attempt=attempt, device=device)

    def _keys(self, email: str, origin: Origin, device: Device | None) -> CounterKeys:
        """Return the counters of an attempt: those of its device alone, as long as that has some left."""
        if device is not None:
            own = self._throttle.keys_of_device(device.id)
            if self._throttle.has_room(own):
                return own
        keys = self._throttle.keys_of_password(email, origin)
        self._throttle.look(keys, origin)
        return keys


def requester(email: str, origin: Origin, device: Device | None = None) -> Requester:
    """Return who asks for a hash: an address that was typed, from a block or from a device of its own."""
    account = canonical_or_none(email) or ""
    return Requester(block=block_of(origin.ip) if device is None else f"account {account}", account=account)
