"""Notes: what a user writes down, until it is a day old."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.store import Port

LIFETIME = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One note."""

    id: uuid.UUID
    user_id: uuid.UUID
    text: str
    created_at: datetime


class Notes(Protocol):
    """Port: the notes inside one unit of work."""

    def add(self, note: Note) -> bool:
        """Store a note; False where its user has the same already."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Note]:
        """The notes of a user, oldest first: those after an id."""
        ...

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` notes from before then; how many there were."""
        ...


NOTES: Port[Notes] = Port("notes")
