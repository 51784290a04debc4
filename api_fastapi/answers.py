"""Turns a whole answer of the core into a response of FastAPI."""

from fastapi import Response

from core.contract.answer import Answer


def response_of(answer: Answer) -> Response:
    """Make the response; FastAPI adds no media type to it."""
    return Response(answer.body, answer.status, dict(answer.headers))
