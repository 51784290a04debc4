"""The handlers of notes at the FastAPI door."""

from functools import partial

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from api_fastapi.binding import ContractRoute, endpoint
from api_fastapi.dependencies import CurrentPrincipal, From
from tests.support.notes import operations
from tests.support.notes.schemas import Note, NoteList, NoteRequest
from tests.support.notes.service import NoteBook


def router_of(book: NoteBook) -> APIRouter:
    """The routes of notes."""
    router = APIRouter(route_class=ContractRoute)
    on = partial(endpoint, router)

    @on(operations.WRITE_NOTE)
    async def write_note(body: NoteRequest, principal: CurrentPrincipal, origin: From) -> Note:
        return Note.of(await run_in_threadpool(book.write, principal, body.text, origin))

    @on(operations.LIST_NOTES)
    async def list_notes(principal: CurrentPrincipal) -> NoteList:
        return NoteList(items=[Note.of(note) for note in await run_in_threadpool(book.read, principal)])

    return router
