"""The views of notes at the Flask door."""

from flask import Blueprint
from flask.views import MethodView

from api_flask.binding import add_view, endpoint
from api_flask.dependencies import current_origin, current_principal
from tests.support.notes import operations
from tests.support.notes.schemas import Note, NoteList, NoteRequest
from tests.support.notes.service import NoteBook


def blueprint_of(book: NoteBook) -> Blueprint:
    """The routes of notes."""

    class Notes(MethodView):
        @endpoint(operations.WRITE_NOTE)
        def post(self, body: NoteRequest) -> Note:
            return Note.of(book.write(current_principal(), body.text, current_origin()))

        @endpoint(operations.LIST_NOTES)
        def get(self) -> NoteList:
            return NoteList(items=[Note.of(note) for note in book.read(current_principal())])

    blueprint = Blueprint("notes", __name__)
    add_view(blueprint, Notes)
    return blueprint
