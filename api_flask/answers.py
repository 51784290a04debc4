"""Turns a whole answer of the core into a response of Flask."""

from collections.abc import Iterator

from flask import Response

from core.contract.answer import Answer


def response_of(answer: Answer) -> Response:
    """Make the response; without a body it has no media type, which Flask would add."""
    response = Response(answer.body, answer.status, dict(answer.headers))
    if not answer.body:
        response.headers.pop("Content-Type", None)
    return response


def stream_of(media_type: str, pieces: Iterator[bytes]) -> Response:
    """Make a response that is sent piece by piece; the server closes the pieces when its client has gone."""
    return Response(pieces, mimetype=media_type)
