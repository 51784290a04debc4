"""The use cases of notes."""

from core.clock import Clock, new_id
from core.mail.model import message
from core.origin import Origin
from core.sessions.model import Principal
from core.storage.retries import retried
from core.store import Store
from tests.support.notes.errors import NoteTaken
from tests.support.notes.model import NOTES, Note

NOTE_WRITTEN = "note_written"
"""The kind of the letter that tells of a new note."""


class NoteBook:
    """Writes and reads the notes of users."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @retried
    def write(self, principal: Principal, text: str, origin: Origin) -> Note:
        """Write a note, and tell its user by mail.

        Raises:
            NoteTaken: the user has the same already.

        """
        now, user_id = self._clock.now(), principal.user.id
        note = Note(id=new_id(now), user_id=user_id, text=text, created_at=now)
        with self._store.begin() as work:
            if not work.port(NOTES).add(note):
                raise NoteTaken
            work.outbox.add(message(NOTE_WRITTEN, at=now, origin=origin, user_id=user_id))
            work.commit()
        return note

    @retried
    def read(self, principal: Principal) -> list[Note]:
        """The notes of a user."""
        with self._store.reading() as read:
            return read.port(NOTES).of(principal.user.id)
