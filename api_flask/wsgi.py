"""The application for a WSGI server: ``gunicorn "api_flask.wsgi:application()"``.

Who builds it starts the service, and the end of the process closes it, for WSGI knows no end of an application. How
many requests are served at once is the server's own setting, gunicorn's ``--threads``.
"""

import atexit

from flask import Flask

from api_flask.app import create_app
from core.app import build
from core.logs import configure
from core.settings.loading import load_settings


def application() -> Flask:
    """Build the service from the environment and put its front door before it.

    Raises:
        SettingsError: one line that names what is wrong and shows no value.
        TextsError: the operator's folder of texts cannot be used.

    """
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    atexit.register(auth.close)  # nothing more happens where the server has closed it already
    return create_app(auth)
