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


def export(read: UnitOfWork, user_id: uuid.UUID) -> list[Note]:
    """The notes of a user."""
    return [Note.of(note) for note in read.port(NOTES).of(user_id)]


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
