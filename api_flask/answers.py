"""How a whole answer of the core becomes a response of Flask."""

from flask import Response

from core.contract.answer import Answer


def response_of(answer: Answer) -> Response:
    """The answer as a response; one without a body has no type of it, which Flask would add."""
    response = Response(answer.body, answer.status, dict(answer.headers))
    if not answer.body:
        response.headers.pop("Content-Type", None)
    return response
