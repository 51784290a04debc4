"""The request model of a login, and the fields for addresses and passwords."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from core.authentication.passwords import policy
from core.contract.fields import text_field
from core.devices.schemas import device_token_field
from core.errors import InvalidInput
from core.tokens.schemas import AccessBody
from core.users import addresses

EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - the one from the comic


def _normal(text: str) -> str:
    """Normalise a password before its characters are counted: the same letters may be typed as more code points."""
    normal = policy.normalise(text)
    if len(normal) > policy.MAX_CHARACTERS:
        raise PydanticCustomError("string_too_long", "Too long.")
    return normal


def _deliverable(text: str) -> str:
    """Refuse what is no address with the other mistakes of a body, and not when those are mended."""
    try:
        addresses.parse_email(text)
    except InvalidInput as refused:
        (error,) = refused.errors
        raise PydanticCustomError(error.code, error.message) from None
    return text


EmailText = Annotated[
    str, text_field("E-mail address.", example="ann@example.com", maximum=addresses.MAX_LENGTH, format_="email")
]

AddressText = Annotated[EmailText, AfterValidator(_deliverable)]
"""Of an account to be; a login takes any text, because an address that cannot be is like one that nobody has."""


@dataclass(frozen=True, slots=True)
class NewPassword:
    """Marks a password that the policy has to allow."""


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
    NewPassword(),
]


class LoginRequest(AccessBody):
    """An address and its password."""

    email: EmailText
    password: PasswordText
    device_token: str | None = device_token_field()
