"""Turns a whole answer of the core into a response of FastAPI, and pieces of one."""

from collections.abc import Generator

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from core.contract.answer import Answer


def response_of(answer: Answer) -> Response:
    """Make the response; FastAPI adds no media type to it."""
    return Response(answer.body, answer.status, dict(answer.headers))


class PiecesResponse(StreamingResponse):
    """A response that is sent piece by piece; its pieces are closed when its client has gone."""

    def __init__(self, media_type: str, pieces: Generator[bytes, None, None]) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; each piece is made in a thread."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


def stream_of(media_type: str, pieces: Generator[bytes, None, None]) -> Response:
    """Make a response that is sent piece by piece."""
    return PiecesResponse(media_type, pieces)
