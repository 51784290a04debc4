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


def export(read: UnitOfWork, user_id: uuid.UUID) -> list[ExportedDevice]:
    """Export the devices of a user."""
    return [ExportedDevice.of(device) for device in read.devices.of(user_id)]


DEVICES = Capability(name="devices", purges={"devices": purge}, export={"devices": export})
