"""The application for an ASGI server: ``uvicorn --factory api_fastapi.asgi:application``.

Building the application starts the service, and the end of its lifespan closes it. The number of requests served at
once follows from the password settings: the lifespan sets the size of the thread pool.
"""

from fastapi import FastAPI

from api_fastapi.app import create_app
from core.app import build
from core.logs import configure
from core.settings.loading import load_settings


def application() -> FastAPI:
    """Build the service from the environment, and its front door.

    Raises:
        SettingsError: a setting is wrong; one line names it and shows no value.
        TextsError: the operator's folder of texts cannot be used.

    """
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    return create_app(auth)
