"""The dependencies of handlers, all `async def`: each `def` would be one more thread hop for a request."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import OAuthFlows
from fastapi.security import HTTPBasic, HTTPBearer, OAuth2
from fastapi.security.base import SecurityBase

from core.app import AuthApp
from core.http import openapi
from core.http.edge.request_context import CONTEXT, RequestContext
from core.http.pages import Pages
from core.http.reading import bearer_token, client_credentials, client_proof, optional_bearer_token
from core.oauth.model import BearerToken, Credentials
from core.origin import Origin
from core.sessions.model import Caller, Principal


class Described(SecurityBase):
    """A security scheme in the OpenAPI document alone.

    `core.http.reading` reads the credentials, as in the other door: FastAPI's own schemes would read them a second
    time, and that of HTTP Basic answers a malformed header by itself.
    """

    def __init__(self, scheme: SecurityBase) -> None:
        self.model = scheme.model
        self.scheme_name = scheme.scheme_name

    async def __call__(self) -> None:
        """Read nothing."""


oauth2 = Described(
    OAuth2(flows=OAuthFlows(**openapi.FLOWS), scheme_name=openapi.OAUTH_SCHEME, description=openapi.OAUTH_SCHEME_TEXT)
)
access_token = Described(
    HTTPBearer(bearerFormat="JWT", scheme_name=openapi.BEARER_SCHEME, description=openapi.BEARER_SCHEME_TEXT)
)
client_basic = Described(HTTPBasic(scheme_name=openapi.CLIENT_SCHEME, description=openapi.CLIENT_SCHEME_TEXT))


async def auth_app(request: Request) -> AuthApp:
    """Return the service of this application."""
    auth: AuthApp = request.app.state.auth
    return auth


async def site_pages(request: Request) -> Pages:
    """Return the pages of this application."""
    pages: Pages = request.app.state.pages
    return pages


def context_of(request: Request) -> RequestContext:
    """Return the context of the request, which the edge has put into the scope."""
    context: RequestContext = request.scope[CONTEXT]
    return context


async def known_tag(request: Request) -> str | None:
    """Return the header If-None-Match."""
    return request.headers.get("if-none-match")


async def current_context(request: Request) -> RequestContext:
    """Return the context of the request."""
    return context_of(request)


async def current_origin(request: Request) -> Origin:
    """Return the origin of the request."""
    return context_of(request).origin


async def current_principal(
    request: Request,
    auth: Annotated[AuthApp, Depends(auth_app)],
    _oauth2: Annotated[None, Depends(oauth2)],
    _access_token: Annotated[None, Depends(access_token)],
) -> Principal:
    """Return the user and session of the request's access token, in one thread hop."""
    token = bearer_token(request.headers.get("authorization"))
    return await run_in_threadpool(auth.sessions.whoami, token)


async def optional_principal(
    request: Request,
    auth: Annotated[AuthApp, Depends(auth_app)],
    _oauth2: Annotated[None, Depends(oauth2)],
    _access_token: Annotated[None, Depends(access_token)],
) -> Principal | None:
    """Return the user and session of the request's access token, if it has one, in one thread hop."""
    token = optional_bearer_token(request.headers.get("authorization"))
    return None if token is None else await run_in_threadpool(auth.sessions.whoami, token)


async def current_caller(
    request: Request,
    auth: Annotated[AuthApp, Depends(auth_app)],
    _oauth2: Annotated[None, Depends(oauth2)],
    _access_token: Annotated[None, Depends(access_token)],
) -> Caller:
    """Return the user or the client of the request's access token, in one thread hop."""
    token = bearer_token(request.headers.get("authorization"))
    return await run_in_threadpool(auth.sessions.caller, token)


async def current_credentials(request: Request) -> Credentials | None:
    """Return the client id and secret of the request, if any."""
    return client_credentials(request.headers.get("authorization"))


async def current_client_proof(
    request: Request, _client_basic: Annotated[None, Depends(client_basic)]
) -> Credentials | BearerToken | None:
    """Return the credentials or the access token of a client; the core refuses requests without any."""
    return client_proof(request.headers.get("authorization"))


Auth = Annotated[AuthApp, Depends(auth_app)]
Site = Annotated[Pages, Depends(site_pages)]
Context = Annotated[RequestContext, Depends(current_context)]
From = Annotated[Origin, Depends(current_origin)]
OptionalClient = Annotated[Credentials | None, Depends(current_credentials)]
ClientProof = Annotated[Credentials | BearerToken | None, Depends(current_client_proof)]
IfNoneMatch = Annotated[str | None, Depends(known_tag)]
CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
OptionalPrincipal = Annotated[Principal | None, Depends(optional_principal)]
CurrentCaller = Annotated[Caller, Depends(current_caller)]
