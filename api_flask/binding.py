"""Binds views to the operations of the contract."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from flask import Blueprint, Response, request
from flask.views import MethodView
from pydantic import BaseModel, TypeAdapter, ValidationError

from api_flask.answers import response_of
from api_flask.dependencies import auth_app, authenticate, authenticate_if_asked, identify, identify_client, recognise
from core.contract.answer import Answer
from core.contract.operation import JSON, Auth, Operation
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
        case Auth.OPTIONAL_USER:
            authenticate_if_asked()
        case Auth.BEARER:
            recognise()
        case Auth.OPTIONAL_CLIENT:
            identify()
        case Auth.CLIENT:
            identify_client()


def _validated(operation: Operation, given: reading.Input, path: dict[str, str]) -> dict[str, Any]:
    """Validate every part of the input, and report the errors of all parts at once."""
    values: dict[str, Any] = {}
    errors: list[dict[str, Any]] = []
    for name, place, validate, value in _parts(operation, given, path):
        try:
            values[name] = validate(value)
        except ValidationError as error:
            # Pydantic's locations begin inside the value; the contract's, as FastAPI's, with the part of the request.
            found = error.errors(include_url=False, include_input=False, include_context=False)
            errors += [{**one, "loc": (*place, *one["loc"])} for one in found]
    if errors:
        raise reading.invalid(operation, errors, given, auth_app().password_policy)
    return values


def _parts(
    operation: Operation, given: reading.Input, path: dict[str, str]
) -> Iterator[tuple[str, tuple[str, ...], Callable[[Any], Any], Any]]:
    """Return the parts of the input, each with its argument, its place in errors, its validator and its value."""
    for name, text in path.items():
        yield name, ("path", name), _PATH_TYPES[operation.parameters[name].kind].validate_python, text
    models = (("query", operation.query, given.query), ("body", operation.json, given.json))
    for name, model, value in (*models, ("form", operation.form, given.form)):
        if model is not None:
            yield name, (name,), model.model_validate, value


def _response(operation: Operation, result: Any) -> Response:
    if isinstance(result, Response):
        return result
    if not isinstance(result, BaseModel):
        return response_of(Answer(operation.status))
    body = result.model_dump_json(exclude_none=operation.omit_null).encode()
    return response_of(Answer.of(JSON, body, status=operation.status))
