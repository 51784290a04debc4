"""What the audit log adds to the service."""

import uuid
from datetime import datetime

from core.audit.schemas import ExportedEvent
from core.capability import Capability
from core.settings.whole import Settings
from core.store import UnitOfWork


def purge(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete events that are older than the retention."""
    return work.audit.purge(before=now - settings.audit.retention, limit=limit)


def export(
    read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[tuple[uuid.UUID, ExportedEvent]]:
    """Export events of a user."""
    return [(event.id, ExportedEvent.of(event)) for event in read.audit.of(user_id, after=after, limit=limit)]


AUDIT = Capability(name="audit", purges={"audit_events": purge}, export={"audit_events": export})
