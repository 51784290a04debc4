"""The OpenAPI 3.1 document, made from the operations. FastAPI makes its own from its routes; a test compares both."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from core.contract.contract import Contract
from core.contract.operation import JSON, Auth, Operation
from core.contract.problem import InputProblem, OAuthError, Problem
from core.http.problems import EXAMPLE_REQUEST_ID, REALM, Problems, media_type_of, model_of
from core.oauth.operations import TOKEN

TITLE = "Twinauth"
VERSION = version("twinauth")
DESCRIPTION = (
    "Accounts, sessions and JWT access tokens. Two front doors, Flask and FastAPI, answer alike over one database: "
    "a token from one works at the other, and a session ended at one is dead at both."
)

OAUTH_SCHEME = "OAuth2"
BEARER_SCHEME = "AccessToken"
CLIENT_SCHEME = "Client"
# Relative to the document, so that it also works behind a proxy that adds a prefix.
_TOKEN_URL = TOKEN.path.removeprefix("/")
FLOWS: dict[str, Any] = {
    "password": {"scopes": {}, "tokenUrl": _TOKEN_URL},
    "clientCredentials": {"scopes": {}, "tokenUrl": _TOKEN_URL},
}
OAUTH_SCHEME_TEXT = (
    "Users log in with e-mail address and password, and leave the client fields empty; registered clients, with id and "
    "secret."
)
BEARER_SCHEME_TEXT = "Paste an access token."
CLIENT_SCHEME_TEXT = "Id and secret of a registered client."
SECURITY_SCHEMES: dict[str, Any] = {
    OAUTH_SCHEME: {"type": "oauth2", "description": OAUTH_SCHEME_TEXT, "flows": FLOWS},
    BEARER_SCHEME: {
        "type": "http",
        "description": BEARER_SCHEME_TEXT,
        "scheme": "bearer",
        "bearerFormat": "JWT",
    },
    CLIENT_SCHEME: {"type": "http", "description": CLIENT_SCHEME_TEXT, "scheme": "basic"},
}
_BY_TOKEN: list[dict[str, list[str]]] = [{OAUTH_SCHEME: []}, {BEARER_SCHEME: []}]
# The alternatives of each kind of authentication; an empty one is a request without any.
_SECURITY: dict[Auth, list[dict[str, list[str]]]] = {
    Auth.NONE: [],
    Auth.USER: _BY_TOKEN,
    Auth.OPTIONAL_USER: [{}, *_BY_TOKEN],
    Auth.BEARER: _BY_TOKEN,
    Auth.OPTIONAL_CLIENT: [{}, {CLIENT_SCHEME: []}],
    Auth.CLIENT: [{CLIENT_SCHEME: []}],
}

# Header fields that carry a meaning, by name. Those of every answer that mean nothing to a program are left out.
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "Names the request in our log; a valid one of the client is kept.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": EXAMPLE_REQUEST_ID,
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 2,
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750 section 3, RFC 7617).",
        "schema": {"type": "string"},
        "example": f'Bearer realm="{REALM}"',
    },
    "ETag": {
        "description": "Names this state of the answer, for `If-None-Match`.",
        "schema": {"type": "string"},
        "example": '"42"',
    },
}
_ALWAYS = ("X-Request-ID",)

_REF = "#/components/schemas/{model}"
_ERROR_MODELS: tuple[type[BaseModel], ...] = (Problem, InputProblem, OAuthError)


def document(contract: Contract, public_url: str) -> dict[str, Any]:
    """Make the whole document of a service with this public URL."""
    documented = [operation for operation in contract.operations.values() if operation.documented]
    problems = Problems(contract.problems)
    references, definitions = _schemas(documented)
    paths: dict[str, dict[str, Any]] = {}
    for operation in documented:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references, problems)
    made = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "description": DESCRIPTION, "version": VERSION, **about(public_url)},
        "servers": servers(public_url),
        "paths": paths,
        "components": {
            "schemas": {**definitions, **further_schemas(contract)},
            "headers": _HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
        "tags": tags(contract),
    }
    document: dict[str, Any] = _without_nulls(made)
    return document


def about(public_url: str) -> dict[str, dict[str, str]]:
    """Return whom to ask about this service, and the licence of its software."""
    return {
        "contact": {"name": "The operator of this service", "url": public_url},
        "license": {"name": "MIT", "identifier": "MIT"},
    }


def servers(public_url: str) -> list[dict[str, str]]:
    """Return where the service is: generated clients take the first address for their default.

    Swagger UI asks beside the document, as the second says: under whatever prefix, and in development at the door that
    showed it.
    """
    return [
        {"url": public_url, "description": "The public URL, under which both front doors may stand."},
        {"url": ".", "description": "Where this document lies."},
    ]


def tags(contract: Contract) -> list[dict[str, str]]:
    """Return the chapters of the document."""
    return [{"name": name, "description": text} for name, text in contract.tags.items()]


def security(operation: Operation) -> list[dict[str, list[str]]]:
    """Return the alternatives for authenticating a request; none where it needs no authentication."""
    return _SECURITY[operation.auth]


def headers() -> dict[str, Any]:
    """Return the header fields that answers refer to."""
    return _HEADERS


def further_schemas(contract: Contract) -> dict[str, Any]:
    """Return the schemas of bodies that no route of FastAPI names: of errors, and of a second kind of success."""
    others = {model: None for operation in contract.operations.values() for model in operation.other_responses.values()}
    _, definitions = models_json_schema(
        [(model, "serialization") for model in (*_ERROR_MODELS, *others)], ref_template=_REF
    )
    return dict(definitions["$defs"])


def success_headers(operation: Operation) -> dict[str, Any]:
    """Return the header fields of a success."""
    return _references((*_ALWAYS, *operation.headers))


def other_responses(operation: Operation, problems: Problems) -> dict[int | str, dict[str, Any]]:
    """Return every other answer of an operation, by status, each error code with an example."""
    responses: dict[int | str, dict[str, Any]] = {
        int(status): _other_success(operation, status) for status in operation.other_statuses
    }
    for error in sorted(operation.all_errors, key=lambda error: (problems.status_of(error), error.code)):
        empty: dict[str, Any] = {"description": "", "headers": _references(_ALWAYS), "content": {}}
        response = responses.setdefault(int(problems.status_of(error)), empty)
        response["headers"].update(_references(problems.header_names(error)))
        response["description"] = ", ".join(filter(None, (response["description"], f"`{error.code}`")))
        content = response["content"].setdefault(media_type_of(error), {"examples": {}})
        content["schema"] = {"$ref": _REF.format(model=model_of(error).__name__)}
        content["examples"][error.code] = {"value": problems.example(error)}
    return responses


def _other_success(operation: Operation, status: HTTPStatus) -> dict[str, Any]:
    made = {"description": operation.other_statuses[status], "headers": success_headers(operation)}
    if model := operation.other_responses.get(status):
        made["content"] = {JSON: {"schema": {"$ref": _REF.format(model=model.__name__)}}}
    return made


def _references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names if name in _HEADERS}


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
    made["security"] = security(operation)
    if parameters := [*_path_parameters(operation), *_query_parameters(operation)]:
        made["parameters"] = parameters
    if operation.json is not None:
        made["requestBody"] = _body(references[operation.json, "validation"], JSON)
    if operation.form is not None:
        made["requestBody"] = _body(references[operation.form, "validation"], "application/x-www-form-urlencoded")
    success: dict[str, Any] = {"description": operation.success, "headers": success_headers(operation)}
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
