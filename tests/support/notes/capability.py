"""What notes add to the whole: a capability outside the product."""

import uuid
from datetime import datetime
from pathlib import Path

from core.capability import Capability
from core.settings.whole import Settings
from core.store import UnitOfWork
from tests.support.notes.model import LIFETIME, NOTES
from tests.support.notes.operations import OPERATIONS, PROBLEMS, TAG
from tests.support.notes.schemas import Note
from tests.support.notes.service import NOTE_WRITTEN
from tests.support.notes.sql import SqlNotes


def purge(work: UnitOfWork, now: datetime, _settings: Settings, limit: int) -> int:
    """Delete notes that are a day old."""
    return work.port(NOTES).purge(before=now - LIFETIME, limit=limit)


def export(read: UnitOfWork, user_id: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[tuple[uuid.UUID, Note]]:
    """Export notes of a user."""
    page = read.port(NOTES).of(user_id, after=after, limit=limit)
    return [(note.id, Note.of(note)) for note in page]


NOTE_BOOK = Capability(
    name="notes",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={TAG: "What users write down."},
    purges={"notes": purge},
    export={"notes": export},
    letters=(NOTE_WRITTEN,),
    texts=Path(__file__).parent,
    ports={NOTES: SqlNotes},
)
