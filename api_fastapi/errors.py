"""The error handlers of FastAPI: one for the error tree, one for requests that the router refuses."""

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from api_fastapi.answers import response_of
from api_fastapi.dependencies import context_of
from core.errors import AuthError, MalformedRequest, NotFound


def install_error_handlers(app: FastAPI) -> None:
    """Install the handlers; the edge answers unknown errors."""
    app.add_exception_handler(AuthError, on_auth_error)
    app.add_exception_handler(HTTPException, on_http_exception)


async def on_auth_error(request: Request, error: Exception) -> Response:
    """Answer an error of the tree."""
    if not isinstance(error, AuthError):
        raise error
    return response_of(context_of(request).answer(error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer a request that Starlette refuses: its path is not in the contract."""
    known = isinstance(error, HTTPException) and error.status_code == HTTPStatus.NOT_FOUND
    return await on_auth_error(request, NotFound() if known else MalformedRequest())
