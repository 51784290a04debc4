"""Notes in SQL, beside the tables of the core."""

import uuid
from datetime import datetime

from sqlalchemy import Column, Connection, ForeignKey, MetaData, String, Table, UniqueConstraint, Uuid, delete, select

from core.storage.pages import page_of
from core.storage.schema import UtcDateTime
from core.storage.upsert import upsert
from core.users.sql import users
from tests.support.notes.model import Note

notes = Table(
    "notes",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("text", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "text", name="uq_notes_user_id_text"),
)


class SqlNotes:
    """The `Notes` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, note: Note) -> bool:
        """Store a note."""
        added = self._connection.execute(
            upsert(self._connection, notes)
            .values(id=note.id, user_id=note.user_id, text=note.text, created_at=note.created_at)
            .on_conflict_do_nothing(index_elements=[notes.c.user_id, notes.c.text])
            .returning(notes.c.id)
        )
        return added.one_or_none() is not None

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Note]:
        """The notes of a user."""
        page = page_of(select(notes).where(notes.c.user_id == user_id), notes.c.id, after, limit)
        return [Note(**row) for row in self._connection.execute(page).mappings()]

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete old notes."""
        old = select(notes.c.id).where(notes.c.created_at < before).limit(limit)
        return self._connection.execute(delete(notes).where(notes.c.id.in_(old))).rowcount
