"""The Flask application."""

from flask import Blueprint, Flask

from api_flask.errors import install_error_handlers
from api_flask.views import accounts, authentication, oauth, sessions, site, tokens
from core.app import AuthApp
from core.http.edge.edge import Edge
from core.http.edge.wsgi import WsgiEdge
from core.http.pages import Pages

BLUEPRINTS = tuple(module.blueprint for module in (accounts, authentication, sessions, oauth, tokens, site))


def create_app(auth: AuthApp, *further: Blueprint) -> Flask:
    """Make the application around a service that the caller built.

    A capability outside the core brings a blueprint of its own.
    """
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    # Unknown errors end at the edge, which logs them whole and answers with nothing but the request id.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.extensions["twinauth"] = auth
    app.extensions["twinauth_edge"] = edge = Edge(
        auth.settings, auth.contract, door="flask"
    )  # the server answers by it as well
    app.extensions["twinauth_pages"] = Pages(auth.texts, auth.settings, auth.contract)
    for blueprint in (*BLUEPRINTS, *further):
        app.register_blueprint(blueprint)
    install_error_handlers(app)
    app.wsgi_app = WsgiEdge(app.wsgi_app, edge)  # type: ignore[method-assign]  # as Flask's guide does it
    return app
