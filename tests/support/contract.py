"""The contract of the product, as tests ask for it."""

from typing import Any

from core.capabilities import CONTRACT
from core.http import openapi
from core.http.problems import Problems

OPERATIONS = CONTRACT.operations
PROBLEMS = Problems(CONTRACT.problems)
status_of = PROBLEMS.status_of


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi.document(CONTRACT, "http://127.0.0.1:8000")
