"""What the operations of notes take and show."""

from datetime import datetime
from typing import Annotated, Self

from core.contract.fields import RequestModel, ResponseModel, text_field
from tests.support.notes import model


class NoteRequest(RequestModel):
    """A note to write."""

    text: Annotated[str, text_field("What to write down.", example="milk", maximum=200)]


class Note(ResponseModel):
    """A note."""

    text: str
    created_at: datetime

    @classmethod
    def of(cls, note: model.Note) -> Self:
        """Show a note."""
        return cls(text=note.text, created_at=note.created_at)


class NoteList(ResponseModel):
    """The notes of a user, oldest first."""

    items: list[Note]
