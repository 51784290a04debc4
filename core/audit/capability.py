"""What the audit log adds to the service. Its part of an export is in `core.accounts.export`."""

from datetime import datetime

from core.capability import Capability
from core.settings.whole import Settings
from core.store import UnitOfWork


def purge(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete events that are older than the retention."""
    return work.audit.purge(before=now - settings.audit.retention, limit=limit)


AUDIT = Capability(name="audit", purges={"audit_events": purge})
