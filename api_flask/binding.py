"""Binds views to the operations of the contract."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from flask import Blueprint, Response, request
from flask.views import MethodView
from pydantic import BaseModel, TypeAdapter, ValidationError

from api_flask.answers import response_of
from api_flask.dependencies import authenticate, identify, identify_client, recognise
from core.contract.answer import Answer
from core.contract.operation import JSON, Auth, Operation, Parameter
from core.http import reading

View = Callable[..., Any]
AnyView = TypeVar("AnyView", bound=MethodView)

_PATH_TYPES: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (str, UUID)}


def endpoint(operation: Operation) -> Callable[[View], View]:
    """Bind a method of a `MethodView` to an operation.

    The input is read, the caller authenticated (`flask.g.principal`), and the input validated, in this order; the
    result of the method becomes the body.
    """

    def decorate(method: View) -> View:
        @wraps(method)
        def view(self: MethodView, **arguments: str) -> Response:
            given = reading.read(
                operation,
                content_type=request.headers.get("content-type"),
                body=request.get_data(),
                query=request.query_string,
            )
            _identify_caller(operation.auth)
            return _response(operation, method(self, **_validated(operation, given, arguments)))

        view.operation = operation  # type: ignore[attr-defined]  # read by `add_view`
        return view

    return decorate


def add_view(blueprint: Blueprint, view: type[AnyView]) -> type[AnyView]:
    """Add a view at the path that its methods share; used as a decorator."""
    operations: list[Operation] = [getattr(view, name.lower()).operation for name in sorted(view.methods or ())]
    (path,) = {operation.path for operation in operations}
    blueprint.add_url_rule(
        path.replace("{", "<").replace("}", ">"),
        view_func=view.as_view(operations[0].id),
        provide_automatic_options=False,
    )
    return view


def _identify_caller(auth: Auth) -> None:
    match auth:
        case Auth.USER:
            authenticate()
        case Auth.BEARER:
            recognise()
        case Auth.OPTIONAL_CLIENT:
            identify()
        case Auth.CLIENT:
            identify_client()


def _validated(operation: Operation, given: reading.Input, path: dict[str, str]) -> dict[str, Any]:
    try:
        return {
            **{name: _part(operation.parameters[name], text) for name, text in path.items()},
            **_model("body", operation.json, given.json),
            **_model("form", operation.form, given.form),
            **_model("query", operation.query, given.query),
        }
    except ValidationError as error:
        # Pydantic's locations begin inside the value; the contract's, as FastAPI's, with the part of the request.
        part = ("path", *path) if path else ("input",)
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise reading.invalid(operation, [{**one, "loc": (*part, *one["loc"])} for one in found]) from None


def _part(parameter: Parameter, text: str) -> Any:
    return _PATH_TYPES[parameter.kind].validate_python(text)


def _model(name: str, model: type[BaseModel] | None, given: Any) -> dict[str, BaseModel]:
    return {} if model is None else {name: model.model_validate(given)}


def _response(operation: Operation, result: Any) -> Response:
    if isinstance(result, Response):
        return result
    if not isinstance(result, BaseModel):
        return response_of(Answer(operation.status))
    body = result.model_dump_json(exclude_none=operation.omit_null).encode()
    return response_of(Answer.of(JSON, body, status=operation.status))
