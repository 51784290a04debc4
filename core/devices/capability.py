"""What devices add to the service."""

import uuid
from datetime import datetime

from core.capability import Capability
from core.devices.schemas import ExportedDevice
from core.settings.whole import Settings
from core.store import UnitOfWork


def purge(work: UnitOfWork, now: datetime, _settings: Settings, limit: int) -> int:
    """Delete devices that were not used for long."""
    return work.devices.purge(now=now, limit=limit)


def erase(work: UnitOfWork, user_id: uuid.UUID, limit: int) -> int:
    """Delete devices of a deleted account."""
    return work.devices.erase(user_id, limit=limit)


def export(
    read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[tuple[uuid.UUID, ExportedDevice]]:
    """Export devices of a user."""
    page = read.devices.of(user_id, after=after, limit=limit)
    return [(device.id, ExportedDevice.of(device)) for device in page]


DEVICES = Capability(
    name="devices",
    purges={"devices": purge},
    erasures={"devices": erase},
    export={"devices": export},
)
