"""What handlers depend on. All are `async def`: a plain `def` would be one more thread hop a request."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

from core.app import AuthApp
from core.audit import Client
from core.http import edge, openapi
from core.http.pages import Pages
from core.http.reading import bearer_token
from core.sessions import Principal

# Both only describe themselves in the OpenAPI document; the token is taken by `bearer_token`, as in the other door.
password_grant = OAuth2PasswordBearer(
    tokenUrl=openapi.TOKEN_URL,
    scheme_name=openapi.PASSWORD_SCHEME,
    description=openapi.PASSWORD_SCHEME_TEXT,
    auto_error=False,
)
access_token = HTTPBearer(
    bearerFormat="JWT",
    scheme_name=openapi.BEARER_SCHEME,
    description=openapi.BEARER_SCHEME_TEXT,
    auto_error=False,
)


async def auth_app(request: Request) -> AuthApp:
    """The service of this application."""
    auth: AuthApp = request.app.state.auth
    return auth


async def documentation_pages(request: Request) -> Pages:
    """The documentation pages of this application."""
    pages: Pages = request.app.state.pages
    return pages


async def current_client() -> Client:
    """Where the request came from."""
    return edge.current().client


async def current_principal(
    request: Request,
    auth: Annotated[AuthApp, Depends(auth_app)],
    _password_grant: Annotated[Any, Depends(password_grant)],
    _access_token: Annotated[Any, Depends(access_token)],
) -> Principal:
    """The user and session that the request's access token speaks for, in one thread hop."""
    token = bearer_token(request.headers.get("authorization"))
    return await run_in_threadpool(auth.auth.whoami, token)


Auth = Annotated[AuthApp, Depends(auth_app)]
Docs = Annotated[Pages, Depends(documentation_pages)]
From = Annotated[Client, Depends(current_client)]
CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
