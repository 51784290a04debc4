"""Building blocks of request and response models."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict


def text_field(description: str, *, example: str, maximum: int, format_: str | None = None) -> Any:
    """Declare a text member of 1 to ``maximum`` characters."""
    extra: JsonDict | None = {"format": format_} if format_ else None
    return Field(min_length=1, max_length=maximum, description=description, examples=[example], json_schema_extra=extra)


def token_field(description: str, *, example: str) -> Any:
    """Declare a token, of any length and form: a wrong one is refused as a token, wherever its fault lies."""
    return Field(description=description, examples=[example])


class RequestModel(BaseModel):
    """Base of request bodies: an unknown member is an error, it is never ignored."""

    model_config = ConfigDict(extra="forbid")


class QueryModel(BaseModel):
    """Base of queries: a misspelt `keep_current` must not end every session."""

    model_config = ConfigDict(extra="forbid")


EXAMPLE_ID = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
EXAMPLE_SESSION_ID = "0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10"
EXAMPLE_TIME = "2026-11-21T09:30:00Z"


class ResponseModel(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)
