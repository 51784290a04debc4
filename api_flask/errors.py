"""The error handlers of Flask: one for the error tree, one for requests that the router refuses."""

from http import HTTPStatus

from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from api_flask.answers import response_of
from api_flask.dependencies import current_context
from core.errors import AuthError, MalformedRequest, NotFound


def install_error_handlers(app: Flask) -> None:
    """Install the handlers; the edge answers unknown errors."""
    app.register_error_handler(AuthError, on_auth_error)
    app.register_error_handler(HTTPException, on_http_exception)


def on_auth_error(error: AuthError) -> Response:
    """Answer an error of the tree."""
    return response_of(current_context().answer(error))


def on_http_exception(error: HTTPException) -> Response:
    """Answer a request that Werkzeug refuses: its path is not in the contract."""
    known = error.code == HTTPStatus.NOT_FOUND
    return on_auth_error(NotFound() if known else MalformedRequest())
