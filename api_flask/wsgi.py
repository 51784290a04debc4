"""The application for a WSGI server: ``gunicorn "api_flask.wsgi:application()"``."""

from flask import Flask

from api_flask.app import create_app
from core.app import build
from core.logs import configure
from core.settings import load_settings


def application() -> Flask:
    """Build the service from the environment and put its front door before it."""
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    return create_app(auth)
