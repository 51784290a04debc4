"""The application for an ASGI server: ``uvicorn --factory api_fastapi.asgi:application``."""

from fastapi import FastAPI

from api_fastapi.app import create_app
from core.app import build
from core.logs import configure
from core.settings import load_settings


def application() -> FastAPI:
    """Build the service from the environment and put its front door before it."""
    settings = load_settings()
    configure(settings)
    auth = build(settings)
    auth.start()
    return create_app(auth)
