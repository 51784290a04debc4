"""What the notes refuse."""

from core.errors import AuthError


class NoteTaken(AuthError):
    """The user has the same note already."""

    code = "note_taken"
    detail = "You have this note already."
