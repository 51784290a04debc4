"""How errors leave Flask: one handler for the error tree, one for what the router itself refuses."""

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from api_flask.answers import response_of
from core.errors import AuthError, MalformedRequest, NotFound
from core.http.edge import request_context
from core.http.problems import status_of


def install_error_handlers(app: Flask) -> None:
    """Install the handlers; unknown errors end at the edge."""
    app.register_error_handler(AuthError, on_auth_error)
    app.register_error_handler(HTTPException, on_http_exception)


def on_auth_error(error: AuthError) -> Response:
    """Answer an error of the tree."""
    return response_of(request_context.current().answer(error))


def on_http_exception(error: HTTPException) -> Response:
    """Answer what Werkzeug refuses by itself: a path that the contract does not have."""
    known = error.code == status_of(NotFound)
    return on_auth_error(NotFound() if known else MalformedRequest())
