"""The request model of a login, and the fields for addresses and passwords."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from core.authentication.passwords import policy
from core.contract.fields import text_field
from core.tokens.schemas import AccessBody
from core.users import addresses

EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - the one from the comic


def _normal(text: str) -> str:
    """Normalise a password before its characters are counted: the same letters may be typed as more code points."""
    normal = policy.normalise(text)
    if len(normal) > policy.MAX_CHARACTERS:
        raise PydanticCustomError("string_too_long", "Too long.")
    return normal


EmailText = Annotated[
    str, text_field("E-mail address.", example="ann@example.com", maximum=addresses.MAX_LENGTH, format_="email")
]


def _password(description: str) -> Any:
    return Field(
        min_length=1,
        max_length=policy.MAX_TYPED,  # before it is normalised
        description=description,
        examples=[EXAMPLE_PASSWORD],
        json_schema_extra={"format": "password", "maxLength": policy.MAX_CHARACTERS},
    )


PasswordText = Annotated[str, _password("Exactly as typed."), AfterValidator(_normal)]
NewPasswordText = Annotated[
    str,
    _password("At least 12 characters (a setting), no composition rules; common ones are refused."),
    AfterValidator(_normal),
]


class LoginRequest(AccessBody):
    """An address and its password."""

    email: EmailText
    password: PasswordText
