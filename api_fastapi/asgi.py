"""The application for an ASGI server: ``uvicorn --factory api_fastapi.asgi:application``.

Who builds it starts the service, and the end of its lifespan closes it. How many requests are served at once follows
from the settings of the passwords: the lifespan has as many threads as they need.
"""

from fastapi import FastAPI

from api_fastapi.app import create_app
from core.app import build
from core.logs import configure
from core.settings.loading import load_settings


def application() -> FastAPI:
    """Build the service from the environment and put its front door before it.

    Raises:
        SettingsError: one line that names what is wrong and shows no value.
        TextsError: the operator's folder of texts cannot be used.

    """
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    return create_app(auth)
