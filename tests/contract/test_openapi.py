"""The two OpenAPI documents are one, and what it says is so."""

import json
from pathlib import Path
from typing import Any

import pytest

from api_fastapi.app import create_app
from core.capabilities import CONTRACT
from core.contract.operation import Auth
from core.http import openapi
from tests.support.api import Api
from tests.support.contract import OPERATIONS, document
from tests.support.services import Service

SNAPSHOT = Path(__file__).parent / "openapi.json"


def test_fastapi_makes_the_same_document_from_its_routes(service: Service) -> None:
    generated = create_app(service.auth).openapi()
    assert json.loads(json.dumps(generated)) == json.loads(json.dumps(document()))


def test_the_document_is_the_committed_one() -> None:
    assert document() == json.loads(SNAPSHOT.read_text()), "run `make openapi` and look at the difference"


def test_both_doors_serve_it(api: Api) -> None:
    assert api.get("/openapi.json").json == document()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


@pytest.mark.parametrize(("path", "method", "operation"), operations(), ids=lambda value: str(value)[:30])
def test_every_operation_is_explained(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert operation["operationId"] in OPERATIONS
    for status, response in operation["responses"].items():
        assert response["description"]
        for content in response.get("content", {}).values():
            assert status.startswith("2") or content["examples"], (path, method, status)


def test_every_member_of_a_request_has_an_example() -> None:
    schemas = document()["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith(("Request", "Form")):
            for member, found in schema["properties"].items():
                variants = [found, *found.get("anyOf", [])]
                assert any("examples" in variant for variant in variants), (name, member)


ALTERNATIVES: dict[Auth, list[dict[str, list[str]]]] = {
    Auth.NONE: [],
    Auth.USER: [{"OAuth2": []}, {"AccessToken": []}],
    Auth.OPTIONAL_USER: [{}, {"OAuth2": []}, {"AccessToken": []}],
    Auth.BEARER: [{"OAuth2": []}, {"AccessToken": []}],
    Auth.OPTIONAL_CLIENT: [{}, {"Client": []}],
    Auth.CLIENT: [{"Client": []}],
}


def test_every_operation_names_its_security() -> None:
    for _, _, operation in operations():
        auth = OPERATIONS[operation["operationId"]].auth
        assert operation["security"] == ALTERNATIVES[auth]
        assert ("401" in operation["responses"]) >= (auth in (Auth.USER, Auth.OPTIONAL_USER, Auth.BEARER, Auth.CLIENT))


def test_a_body_that_is_too_large_is_documented_everywhere() -> None:
    assert all("413" in operation["responses"] for _, _, operation in operations())


def test_the_grants_lead_to_the_token_endpoint() -> None:
    flows = document()["components"]["securitySchemes"]["OAuth2"]["flows"]
    assert flows == {name: {"scopes": {}, "tokenUrl": "v1/token"} for name in ("password", "clientCredentials")}


def test_it_says_where_the_service_is_and_whom_to_ask() -> None:
    found = openapi.document(CONTRACT, "https://auth.example.com/a")
    assert [server["url"] for server in found["servers"]] == ["https://auth.example.com/a", "."]
    assert found["info"]["contact"]["url"] == "https://auth.example.com/a"
    assert found["info"]["license"]["identifier"] == "MIT"


def test_header_fields_that_carry_a_meaning_are_documented_where_they_come() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            names, place = set(response["headers"]), (path, method, status)
            assert "X-Request-ID" in names, place
            assert ("Retry-After" in names) == (status in ("429", "503")), place
            needs_scope = status == "403" and "insufficient_scope" in response["description"]
            assert ("WWW-Authenticate" in names) == (status == "401" or needs_scope), place
            assert ("ETag" in names) == ("304" in operation["responses"] and status in ("200", "304")), place


def test_what_is_always_there_is_required() -> None:
    """Generated clients offer what is not required as something that may be missing."""
    schemas = document()["components"]["schemas"]
    may_be_missing = {
        "JsonWebKey",
        "TokenAnswer",
        "TokenPair",
        "Introspection",
        "ServerMetadata",
    }  # their operations leave out what has no value
    for name, schema in schemas.items():
        if not name.endswith(("Request", "Form")) and name not in may_be_missing:
            assert set(schema.get("required", ())) == set(schema["properties"]), name
    assert schemas["TokenAnswer"]["required"] == ["access_token", "token_type", "expires_in"]
    assert schemas["JsonWebKey"]["required"] == ["kty", "kid", "use", "alg"]


def test_forms_say_what_is_needed_and_which_values_there_are() -> None:
    schemas = document()["components"]["schemas"]
    token, inspected = schemas["TokenForm"], schemas["InspectedTokenForm"]
    assert token["properties"]["grant_type"]["enum"] == ["password", "refresh_token", "client_credentials"]
    assert inspected["properties"]["token_type_hint"]["enum"] == ["access_token", "refresh_token"]
    assert (token["required"], inspected["required"]) == (["grant_type"], ["token"])
    members = [member for form in (token, inspected) for member in form["properties"].values()]
    assert {member["type"] for member in members} == {"string"}


def test_each_status_of_a_signup_has_one_shape() -> None:
    responses = document()["paths"]["/v1/signup"]["post"]["responses"]
    shapes = {status: responses[status]["content"]["application/json"]["schema"] for status in ("201", "202")}
    assert shapes == {
        "201": {"$ref": "#/components/schemas/User"},
        "202": {"$ref": "#/components/schemas/SignupAccepted"},
    }
