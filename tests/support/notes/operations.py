"""The operations of notes, and the HTTP form of their errors."""

from http import HTTPMethod, HTTPStatus

from core.contract.operation import Auth, Operation
from core.contract.problem import ProblemForm, ProblemForms
from tests.support.notes.errors import NoteTaken
from tests.support.notes.schemas import Note, NoteList, NoteRequest

TAG = "notes"

WRITE_NOTE = Operation(
    id="write_note",
    method=HTTPMethod.POST,
    path="/v1/notes",
    tag=TAG,
    summary="Write a note",
    description="Write a note down for a day.",
    json=NoteRequest,
    response=Note,
    status=HTTPStatus.CREATED,
    success="The note.",
    auth=Auth.USER,
    errors=(NoteTaken,),
)

LIST_NOTES = Operation(
    id="list_notes",
    method=HTTPMethod.GET,
    path="/v1/notes",
    tag=TAG,
    summary="List notes",
    description="The notes of the user, oldest first.",
    response=NoteList,
    success="The notes.",
    auth=Auth.USER,
)

OPERATIONS = (WRITE_NOTE, LIST_NOTES)

PROBLEMS: ProblemForms = {
    NoteTaken: ProblemForm(HTTPStatus.CONFLICT, "Note taken", "The user has written the same note down already today.")
}
