"""How a whole answer of the core becomes a response of FastAPI."""

from fastapi import Response

from core.contract.answer import Answer


def response_of(answer: Answer) -> Response:
    """The answer as a response; FastAPI adds no type to it."""
    return Response(answer.body, answer.status, dict(answer.headers))
