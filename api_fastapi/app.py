"""The FastAPI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from api_fastapi.errors import install_error_handlers
from api_fastapi.routes import accounts, authentication, oauth, sessions, site, tokens
from core.app import AuthApp
from core.http import openapi
from core.http.edge.asgi import AsgiEdge
from core.http.edge.edge import Edge
from core.http.pages import Pages
from core.http.problems import Problems

ROUTERS = tuple(module.router for module in (accounts, authentication, sessions, oauth, tokens, site))


def create_app(auth: AuthApp, *further: APIRouter) -> FastAPI:
    """Make the application around a service that the caller built; the end of its lifespan closes the service.

    A capability outside the core brings its own router.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = auth.settings.threads
        yield
        auth.close()

    app = FastAPI(
        title=openapi.TITLE,
        version=openapi.VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.tags(auth.contract),
        openapi_url=None,  # the contract has its own operation for the document
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.auth = auth
    app.state.edge = Edge(auth.settings, auth.contract, door="fastapi")  # the server's guard uses it too
    app.state.pages = Pages(auth.texts, auth.settings, auth.contract)
    for router in (*ROUTERS, *further):
        app.include_router(router)
    install_error_handlers(app)
    app.add_middleware(AsgiEdge, edge=app.state.edge)
    app.openapi = lambda: generated_document(app, auth)  # type: ignore[method-assign]  # as FastAPI's guide does it
    return app


def generated_document(app: FastAPI, auth: AuthApp) -> dict[str, Any]:
    """Make FastAPI's document from its routes, with our error models instead of its own.

    FastAPI adds its 422 to every route with input, even if none of it can be invalid.
    """
    public_url = auth.settings.http.public_url
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
        servers=openapi.servers(public_url),
    )
    document["info"].update(openapi.about(public_url))
    operations = auth.contract.operations
    problems = Problems(auth.contract.problems)
    for methods in document["paths"].values():
        for described in methods.values():
            responses, operation = described["responses"], operations[described["operationId"]]
            described["security"] = openapi.security(operation)
            if "HTTPValidationError" in str(responses.get("422")):
                del responses["422"]
            responses[str(int(operation.status))]["headers"] = openapi.success_headers(operation)
            others = openapi.other_responses(operation, problems)
            responses.update({str(status): response for status, response in others.items()})
    definitions = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        definitions.pop(name, None)
    definitions.update(openapi.further_schemas(auth.contract))
    document["components"]["headers"] = openapi.headers()
    return document
