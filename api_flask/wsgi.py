"""The application for a WSGI server: ``gunicorn "api_flask.wsgi:application()"``.

Building the application starts the service, and the end of the process closes it, because WSGI has no event for the
end of an application. The number of requests served at once is the server's own setting, gunicorn's ``--threads``.
"""

import atexit

from flask import Flask

from api_flask.app import create_app
from core.app import build
from core.logs import configure
from core.settings.loading import load_settings


def application() -> Flask:
    """Build the service from the environment, and its front door.

    Raises:
        SettingsError: a setting is wrong; one line names it and shows no value.
        TextsError: the operator's folder of texts cannot be used.

    """
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    atexit.register(auth.close)  # does nothing if the server has already closed the service
    return create_app(auth)
