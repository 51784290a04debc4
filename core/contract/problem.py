"""Errors in answers: their models, and the HTTP form of an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from pydantic import Field

from core.contract.fields import ResponseModel
from core.errors import AuthError, FieldError


@dataclass(frozen=True, slots=True)
class ProblemForm:
    """The status, the title and the explanation of an error."""

    status: HTTPStatus
    title: str
    explanation: str


ProblemForms = Mapping[type[AuthError], ProblemForm]


class ProblemType(ResponseModel):
    """What an error code means."""

    type: str = Field(examples=["/problems/email_taken"])
    code: str = Field(examples=["email_taken"])
    title: str = Field(examples=["E-mail address taken"])
    status: int = Field(examples=[409])
    explanation: str = Field(description="What it means and what to do about it.")


class Problem(ResponseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="Where the code is explained.", examples=["/problems/email_taken"])
    title: str = Field(examples=["E-mail address taken"])
    status: int = Field(examples=[409])
    detail: str = Field(examples=["An account with this e-mail address exists."])
    code: str = Field(description="Stable; programs read this one.", examples=["email_taken"])
    request_id: str = Field(description="Names the request in our log.", examples=["5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"])


class InputError(ResponseModel):
    """What is wrong with one member of the input."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) to the member.", examples=["/email"])
    code: str = Field(examples=["email_invalid"])
    message: str = Field(examples=["This is not an e-mail address that can receive mail."])

    @classmethod
    def of(cls, error: FieldError) -> Self:
        """Show an error; one without a field is about the whole input."""
        return cls(pointer=f"/{error.field}" if error.field else "", code=error.code, message=error.message)


class InputProblem(Problem):
    """An error in the input, member by member."""

    errors: list[InputError]


class OAuthError(ResponseModel):
    """An error of an OAuth endpoint (RFC 6749 section 5.2)."""

    error: str = Field(examples=["invalid_grant"])
    error_description: str
