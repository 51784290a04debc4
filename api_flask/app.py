"""The Flask application."""

from flask import Flask

from api_flask.errors import install_error_handlers
from api_flask.views import blueprint
from core.app import AuthApp
from core.http.edge.edge import Edge
from core.http.edge.wsgi import WsgiEdge
from core.http.pages import Pages


def create_app(auth: AuthApp) -> Flask:
    """Make the application around a service that the caller built."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    # Unknown errors end at the edge, which logs them whole and answers with nothing but the request id.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.extensions["twinauth"] = auth
    app.extensions["twinauth_edge"] = edge = Edge(auth.settings, door="flask")  # the server answers by it as well
    app.extensions["twinauth_pages"] = Pages(auth.texts, auth.settings)
    app.register_blueprint(blueprint)
    install_error_handlers(app)
    app.wsgi_app = WsgiEdge(app.wsgi_app, edge)  # type: ignore[method-assign]  # as Flask's guide does it
    return app
