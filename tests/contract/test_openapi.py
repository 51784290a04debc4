"""The two OpenAPI documents are one, and what it says is so."""

import json
from pathlib import Path
from typing import Any

import pytest

from api_fastapi.app import create_app
from core.contract.operation import Auth
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


def test_protected_operations_name_their_security() -> None:
    for _, _, operation in operations():
        known = OPERATIONS[operation["operationId"]]
        expected = known.auth in (Auth.USER, Auth.BEARER, Auth.CLIENT)
        assert bool(operation.get("security")) == expected
        assert ("401" in operation["responses"]) >= expected


def test_a_body_that_is_too_large_is_documented_everywhere() -> None:
    assert all("413" in operation["responses"] for _, _, operation in operations())


def test_the_password_grant_leads_to_the_token_endpoint() -> None:
    flows = document()["components"]["securitySchemes"]["PasswordGrant"]["flows"]
    assert flows == {"password": {"scopes": {}, "tokenUrl": "v1/token"}}
