"""The use cases of devices: recognise one, remember it with a login, forget it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime

from core.clock import Clock, new_id
from core.devices.device_tokens import DeviceTokens
from core.devices.model import LIFETIME, MAX_DEVICES, Device
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.users.addresses import canonical_or_none


class DeviceService:
    """Recognises and remembers the devices of accounts."""

    def __init__(self, *, store: Store, clock: Clock, tokens: DeviceTokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    def recognise(self, token: str | None, email: str) -> Device | None:
        """Return the device of a token, if the account with this address knows it.

        Whatever else the token is, the caller is treated as one without: the answer tells nobody that an account
        exists, or which.
        """
        device_id = self._tokens.read(token) if token else None
        return None if device_id is None else self._known(device_id, canonical_or_none(email) or "")

    @retried
    def _known(self, device_id: uuid.UUID, canonical_email: str) -> Device | None:
        with self._store.reading() as read:
            return read.devices.of_account(device_id, canonical_email, now=self._clock.now())

    def remember(
        self, work: UnitOfWork, user_id: uuid.UUID, session_id: uuid.UUID | None, known: Device | None, now: datetime
    ) -> str:
        """Remember a device in the unit of work that starts the session, and return its token.

        The device that was recognised keeps its token, so that what was put away stays good.
        """
        if known is not None:
            used = replace(known, session_id=session_id, last_used_at=now, expires_at=now + LIFETIME)
            if work.devices.use(used):
                return self._tokens.make(used.id)
        device = Device(
            id=new_id(now),
            user_id=user_id,
            session_id=session_id,
            created_at=now,
            last_used_at=now,
            expires_at=now + LIFETIME,
        )
        work.devices.forget_surplus(user_id, limit=MAX_DEVICES - 1)
        work.devices.add(device)
        return self._tokens.make(device.id)
