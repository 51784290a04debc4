"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api_fastapi.errors import install_error_handlers
from api_fastapi.routes import router
from core.app import AuthApp
from core.http import openapi
from core.http.edge.asgi import AsgiEdge
from core.http.edge.edge import Edge
from core.http.pages import Pages


def create_app(auth: AuthApp) -> FastAPI:
    """Make the application around a service that the caller built; it is closed when the application stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = auth.settings.threads
        yield
        auth.close()

    app = FastAPI(
        title=openapi.TITLE,
        version=openapi.VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        openapi_url=None,  # the contract has its own operation for the document
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.auth = auth
    app.state.edge = Edge(auth.settings, door="fastapi")  # the server answers by it as well
    app.state.pages = Pages(auth.texts, auth.settings)
    app.include_router(router)
    install_error_handlers(app)
    app.add_middleware(AsgiEdge, edge=app.state.edge)
    app.openapi = lambda: generated_document(app)  # type: ignore[method-assign]  # as FastAPI's guide does it
    return app


def generated_document(app: FastAPI) -> dict[str, Any]:
    """The document that FastAPI makes from its routes, with our error models in the place of its own.

    FastAPI adds its 422 wherever a route takes anything, also where nothing can be invalid.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    for methods in document["paths"].values():
        for operation in methods.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    definitions = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        definitions.pop(name, None)
    definitions.update(openapi.error_schemas())
    return document
