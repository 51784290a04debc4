"""The OpenAPI 3.1 document, made from the operations. FastAPI makes its own from its routes; a test compares both."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from core.contract.contract import Contract
from core.contract.operation import JSON, Auth, Operation
from core.contract.problem import InputProblem, OAuthError, Problem
from core.http.problems import Problems, media_type_of, model_of
from core.oauth.operations import TOKEN

TITLE = "Twinauth"
VERSION = version("twinauth")
DESCRIPTION = (
    "Accounts, sessions and JWT access tokens. Two front doors, Flask and FastAPI, answer alike over one database: "
    "a token from one works at the other, and a session ended at one is dead at both."
)

PASSWORD_SCHEME = "PasswordGrant"  # noqa: S105 - the name of a scheme
BEARER_SCHEME = "AccessToken"
CLIENT_SCHEME = "Client"
CLIENT_SCHEME_TEXT = "Id and secret of a registered client."
# Relative to the document, so that both also work behind a proxy that adds a prefix.
SERVERS = [{"url": ".", "description": "Where this document lies."}]
TOKEN_URL = TOKEN.path.removeprefix("/")
PASSWORD_SCHEME_TEXT = "Log in with e-mail address and password; leave the client fields empty."  # noqa: S105
BEARER_SCHEME_TEXT = "Paste an access token."
SECURITY_SCHEMES: dict[str, Any] = {
    PASSWORD_SCHEME: {
        "type": "oauth2",
        "description": PASSWORD_SCHEME_TEXT,
        "flows": {"password": {"scopes": {}, "tokenUrl": TOKEN_URL}},
    },
    BEARER_SCHEME: {
        "type": "http",
        "description": BEARER_SCHEME_TEXT,
        "scheme": "bearer",
        "bearerFormat": "JWT",
    },
    CLIENT_SCHEME: {"type": "http", "description": CLIENT_SCHEME_TEXT, "scheme": "basic"},
}
_BY_TOKEN: list[dict[str, list[str]]] = [{PASSWORD_SCHEME: []}, {BEARER_SCHEME: []}]
# The security requirements of operations that refuse unauthenticated requests.
_SECURITY: dict[Auth, list[dict[str, list[str]]]] = {
    Auth.USER: _BY_TOKEN,
    Auth.BEARER: _BY_TOKEN,
    Auth.CLIENT: [{CLIENT_SCHEME: []}],
}

_REF = "#/components/schemas/{model}"
_ERROR_MODELS: tuple[type[BaseModel], ...] = (Problem, InputProblem, OAuthError)


def document(contract: Contract) -> dict[str, Any]:
    """Make the whole document."""
    documented = [operation for operation in contract.operations.values() if operation.documented]
    problems = Problems(contract.problems)
    references, definitions = _schemas(documented)
    paths: dict[str, dict[str, Any]] = {}
    for operation in documented:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references, problems)
    made = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "description": DESCRIPTION, "version": VERSION},
        "servers": SERVERS,
        "paths": paths,
        "components": {"schemas": {**definitions, **error_schemas()}, "securitySchemes": SECURITY_SCHEMES},
        "tags": tags(contract),
    }
    document: dict[str, Any] = _without_nulls(made)
    return document


def tags(contract: Contract) -> list[dict[str, str]]:
    """Return the chapters of the document."""
    return [{"name": name, "description": text} for name, text in contract.tags.items()]


def error_schemas() -> dict[str, Any]:
    """Return the schemas of error bodies, which no route of FastAPI names."""
    _, definitions = models_json_schema([(model, "serialization") for model in _ERROR_MODELS], ref_template=_REF)
    return dict(definitions["$defs"])


def other_responses(operation: Operation, problems: Problems) -> dict[int | str, dict[str, Any]]:
    """Return every other answer of an operation, by status, each error code with an example."""
    responses: dict[int | str, dict[str, Any]] = {
        int(status): {"description": text} for status, text in operation.other_statuses.items()
    }
    for error in sorted(operation.all_errors, key=lambda error: (problems.status_of(error), error.code)):
        response = responses.setdefault(int(problems.status_of(error)), {"description": "", "content": {}})
        response["description"] = ", ".join(filter(None, (response["description"], f"`{error.code}`")))
        content = response["content"].setdefault(media_type_of(error), {"examples": {}})
        content["schema"] = {"$ref": _REF.format(model=model_of(error).__name__)}
        content["examples"][error.code] = {"value": problems.example(error)}
    return responses


def _schemas(
    operations: Iterable[Operation],
) -> tuple[dict[tuple[type[BaseModel], JsonSchemaMode], Any], Any]:
    used: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    for operation in operations:
        for model in (operation.json, operation.form):
            if model is not None:
                used[model, "validation"] = None
        if operation.response is not None:
            used[operation.response, "serialization"] = None
    made: tuple[Any, Any] = models_json_schema(list(used), ref_template=_REF)
    references, definitions = made
    return references, definitions["$defs"]


def _operation(operation: Operation, references: Mapping[Any, Any], problems: Problems) -> dict[str, Any]:
    made: dict[str, Any] = {
        "tags": [str(operation.tag)],
        "summary": operation.summary,
        "description": operation.description,
        "operationId": operation.id,
    }
    if operation.auth in _SECURITY:
        made["security"] = _SECURITY[operation.auth]
    if parameters := [*_path_parameters(operation), *_query_parameters(operation)]:
        made["parameters"] = parameters
    if operation.json is not None:
        made["requestBody"] = _body(references[operation.json, "validation"], JSON)
    if operation.form is not None:
        made["requestBody"] = _body(references[operation.form, "validation"], "application/x-www-form-urlencoded")
    success: dict[str, Any] = {"description": operation.success}
    if operation.response is not None:
        success["content"] = {JSON: {"schema": references[operation.response, "serialization"]}}
    if operation.media_type is not None:
        success["content"] = {operation.media_type: {"schema": {"type": "string"}}}
    made["responses"] = {str(int(operation.status)): success} | {
        str(status): response for status, response in other_responses(operation, problems).items()
    }
    return made


def _body(schema: Any, media_type: str) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _path_parameters(operation: Operation) -> Sequence[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": parameter.description,
            "schema": {"type": "string", "title": name.replace("_", " ").title(), "description": parameter.description}
            | ({"format": "uuid"} if parameter.kind is UUID else {}),
        }
        for name, parameter in operation.parameters.items()
    ]


def _query_parameters(operation: Operation) -> Sequence[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(schema_generator=GenerateJsonSchema)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": member["description"],
            "schema": member,
        }
        for name, member in schema["properties"].items()
    ]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
