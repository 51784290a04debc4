"""What the audit log adds to the whole. Its part of an export is written by `core.accounts.export` itself."""

from datetime import datetime

from core.capability import Capability
from core.settings.whole import Settings
from core.store import UnitOfWork


def purge(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete events that are older than they are kept."""
    return work.audit.purge(before=now - settings.audit.retention, limit=limit)


AUDIT = Capability(name="audit", purges={"audit_events": purge})
