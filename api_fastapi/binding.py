"""Binds handlers to the operations of the contract."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.datastructures import FormData, QueryParams

from core.contract.operation import Operation
from core.http import reading


class ContractRequest(Request):
    """A request whose input was read by the contract's rules; FastAPI gets values, not text."""

    input: reading.Input

    async def json(self) -> Any:
        """Return the JSON body."""
        return self.input.json

    async def _get_form(self, **_: Any) -> FormData:
        """Return the form; Starlette's `form()` calls this."""
        return FormData(self.input.form or {})

    @property
    def query_params(self) -> QueryParams:
        """The query, if the operation takes one."""
        return QueryParams(self.input.query or {})


class ContractRoute(APIRoute):
    """A route that reads its input and reports invalid input by the contract."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()
        operation = operation_of(self)

        async def handler(request: Request) -> Response:
            contract_request = ContractRequest(request.scope, request.receive)
            contract_request.input = reading.read(
                operation,
                content_type=request.headers.get("content-type"),
                body=await contract_request.body(),
                query=request.scope["query_string"],
            )
            try:
                return await handle(contract_request)
            except RequestValidationError as error:
                policy = request.app.state.auth.password_policy
                raise reading.invalid(operation, error.errors(), contract_request.input, policy) from None

        return handler


def endpoint(router: APIRouter, operation: Operation) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Bind a handler to an operation, which gives path, method, models, status and texts.

    `api_fastapi.app.generated_document` adds its errors to FastAPI's document.
    """
    # An answer without a model has no body, or one that is not JSON; a JSONResponse would still set a content type.
    bare: dict[str, Any] = {"response_class": _bare(operation)} if operation.response is None else {}
    route = router.api_route(
        operation.path,
        methods=[operation.method],
        status_code=operation.status,
        response_model=operation.response,
        response_description=operation.success,
        tags=[str(operation.tag)],
        summary=operation.summary,
        description=operation.description,
        operation_id=operation.id,
        response_model_exclude_none=operation.omit_null,
        include_in_schema=operation.documented,
        **bare,
    )

    def bind(handler: Callable[..., Any]) -> Callable[..., Any]:
        handler.operation = operation  # type: ignore[attr-defined]  # read by `operation_of`
        return route(handler)

    return bind


def operation_of(route: APIRoute) -> Operation:
    """Return the operation of a route."""
    operation: Operation = route.endpoint.operation  # type: ignore[attr-defined]  # set by `endpoint`
    return operation


def path_parameter(operation: Operation, name: str) -> object:
    """Declare a path parameter with its text from the contract."""
    return Path(description=operation.parameters[name].description)


def _bare(operation: Operation) -> type[Response]:
    return type("BareResponse", (Response,), {"media_type": operation.media_type})
