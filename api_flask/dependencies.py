"""The dependencies of views: the service, the origin, and the authenticated caller in `flask.g`."""

from flask import current_app, g, request

from core.app import AuthApp
from core.http.edge.request_context import CONTEXT, RequestContext
from core.http.pages import Pages
from core.http.reading import bearer_token, client_credentials, client_proof, optional_bearer_token
from core.oauth.model import BearerToken, Credentials
from core.origin import Origin
from core.sessions.model import Caller, Principal


def auth_app() -> AuthApp:
    """Return the service of this application."""
    auth: AuthApp = current_app.extensions["twinauth"]
    return auth


def site_pages() -> Pages:
    """Return the pages of this application."""
    pages: Pages = current_app.extensions["twinauth_pages"]
    return pages


def current_context() -> RequestContext:
    """Return the context of the request, which the edge has put into the environ."""
    context: RequestContext = request.environ[CONTEXT]
    return context


def current_origin() -> Origin:
    """Return the origin of the request."""
    return current_context().origin


def known_tag() -> str | None:
    """Return the header If-None-Match."""
    return request.headers.get("if-none-match")


def identify() -> None:
    """Put the client id and secret of the request, if any, into `flask.g`."""
    g.credentials = client_credentials(request.headers.get("authorization"))


def current_credentials() -> Credentials | None:
    """Return the client id and secret that `identify` has found."""
    credentials: Credentials | None = g.credentials
    return credentials


def identify_client() -> None:
    """Put the credentials or the access token of a client, if any, into `flask.g`."""
    g.client_proof = client_proof(request.headers.get("authorization"))


def current_client_proof() -> Credentials | BearerToken | None:
    """Return what `identify_client` has found; the core refuses requests without any."""
    proof: Credentials | BearerToken | None = g.client_proof
    return proof


def authenticate() -> None:
    """Put the user and session of the request's access token into `flask.g`.

    A function or a module must not keep them: they would leak into the requests of other threads.
    """
    g.principal = auth_app().sessions.whoami(bearer_token(request.headers.get("authorization")))


def authenticate_if_asked() -> None:
    """Put the user and session of the request's access token, if it has one, into `flask.g`."""
    token = optional_bearer_token(request.headers.get("authorization"))
    g.optional_principal = None if token is None else auth_app().sessions.whoami(token)


def recognise() -> None:
    """Put the user or the client of the request's access token into `flask.g`."""
    g.caller = auth_app().sessions.caller(bearer_token(request.headers.get("authorization")))


def current_caller() -> Caller:
    """Return the user or the client that `recognise` has found."""
    caller: Caller = g.caller
    return caller


def current_principal() -> Principal:
    """Return the user and session that `authenticate` has found."""
    principal: Principal = g.principal
    return principal


def optional_principal() -> Principal | None:
    """Return the user and session that `authenticate_if_asked` has found, if any."""
    principal: Principal | None = g.optional_principal
    return principal
