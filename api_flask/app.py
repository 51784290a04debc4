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

    A capability outside the core brings its own blueprint.
    """
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    # Unknown errors reach the edge, which logs them completely and answers with the request id only.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.extensions["twinauth"] = auth
    edge = Edge(auth.settings, auth.contract, door="flask")
    app.extensions["twinauth_edge"] = edge  # the server's guard uses it too
    app.extensions["twinauth_pages"] = Pages(auth.texts, auth.settings, auth.contract)
    for blueprint in (*BLUEPRINTS, *further):
        app.register_blueprint(blueprint)
    install_error_handlers(app)
    app.wsgi_app = WsgiEdge(app.wsgi_app, edge)  # type: ignore[method-assign]  # as Flask's guide does it
    return app
