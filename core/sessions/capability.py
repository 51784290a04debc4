"""What sessions add to the service."""

import uuid
from datetime import datetime, timedelta

from core.capability import Capability
from core.contract.operation import Tag
from core.sessions.operations import OPERATIONS
from core.sessions.problems import PROBLEMS
from core.sessions.schemas import ExportedSession
from core.settings.whole import Settings
from core.store import UnitOfWork

RETENTION = timedelta(days=7)
"""How long a session is kept after its end, for exports."""


def purge(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete old sessions, and before them note which have ended.

    After a change of the lifetime, some that expired are deleted later than necessary.
    """
    before = now - RETENTION
    made_before = before - settings.tokens.session_lifetime
    noted = work.sessions.end_marked(limit=limit)
    return noted + work.sessions.purge(before=before, made_before=made_before, limit=limit - noted)


def erase(work: UnitOfWork, user_id: uuid.UUID, limit: int) -> int:
    """Delete sessions of a deleted account."""
    return work.sessions.erase(user_id, limit=limit)


def export(
    read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[tuple[uuid.UUID, ExportedSession]]:
    """Export sessions of a user, live or ended."""
    page = read.sessions.of(user_id, after=after, limit=limit)
    return [(session.id, ExportedSession.of(session)) for session in page]


SESSIONS = Capability(
    name="sessions",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={
        Tag.SESSIONS: "The logins of a user, device by device. An ended session is dead at once, at both front doors."
    },
    purges={"sessions": purge},
    erasures={"sessions": erase},
    export={"sessions": export},
)
