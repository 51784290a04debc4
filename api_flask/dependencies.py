"""What views depend on: the service, the caller, and the principal in `flask.g`."""

from flask import current_app, g, request

from core.app import AuthApp
from core.http.edge.request_context import CONTEXT, RequestContext
from core.http.pages import Pages
from core.http.reading import bearer_token, client_credentials
from core.oauth.model import Credentials
from core.origin import Origin
from core.sessions.model import Principal


def auth_app() -> AuthApp:
    """The service of this application."""
    auth: AuthApp = current_app.extensions["twinauth"]
    return auth


def site_pages() -> Pages:
    """The pages of this application."""
    pages: Pages = current_app.extensions["twinauth_pages"]
    return pages


def current_context() -> RequestContext:
    """What the edge knows of the request; it stands in the environ."""
    context: RequestContext = request.environ[CONTEXT]
    return context


def current_origin() -> Origin:
    """Where the request came from."""
    return current_context().origin


def identify() -> None:
    """Put the client id and secret that the request brings, if any, into `flask.g`."""
    g.credentials = client_credentials(request.headers.get("authorization"))


def current_credentials() -> Credentials | None:
    """The client id and secret that `identify` found."""
    credentials: Credentials | None = g.credentials
    return credentials


def authenticate() -> None:
    """Put the user and session that the request's access token speaks for into `flask.g`.

    Nowhere else: identity kept on a function or a module leaks into the requests of other threads.
    """
    g.principal = auth_app().sessions.whoami(bearer_token(request.headers.get("authorization")))


def current_principal() -> Principal:
    """The user and session that `authenticate` found."""
    principal: Principal = g.principal
    return principal
