"""Devices: those on which a user has logged in, known by a token that proves no more than that."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

LIFETIME = timedelta(days=365)
"""After the last login."""
MAX_DEVICES = 20
"""Of one account; the next login forgets the one unused for longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of an account."""

    id: uuid.UUID
    user_id: uuid.UUID
    session_id: uuid.UUID | None
    """The session of the last login on it."""
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class Devices(Protocol):
    """Port: the devices inside one unit of work."""

    def add(self, device: Device) -> None:
        """Store a new device."""
        ...

    def of_account(self, device_id: uuid.UUID, canonical_email: str, *, now: datetime) -> Device | None:
        """Return a device that has not expired, if it belongs to the account with this address."""
        ...

    def use(self, device: Device) -> bool:
        """Store its last use; False if it was forgotten meanwhile."""
        ...

    def forget_surplus(self, user_id: uuid.UUID, *, limit: int) -> None:
        """Forget those unused for longest until at most ``limit`` are left."""
        ...

    def forget_all(self, user_id: uuid.UUID, *, keep_session: uuid.UUID | None = None) -> None:
        """Forget every device of a user except the one that ``keep_session`` was started on."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Device]:
        """Return the devices of a user, by their ids: those after one."""
        ...

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        """Delete up to ``limit`` devices of a user; return their number."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired devices; return their number."""
        ...
