"""What the operations of accounts take and show."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from core.authentication.schemas import EmailText, NewPasswordText, PasswordText
from core.contract.fields import EXAMPLE_ID, EXAMPLE_TIME, RequestModel, ResponseModel, _text
from core.users.model import User as CoreUser


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise PydanticCustomError("control_character", "Control characters are not allowed.")
    return text


EmailTokenText = Annotated[
    str, _text("The token of the link.", example="twm_3jX0v9m1QdK5y8hB2sUe7wZa4tRfLcPn", maximum=512)
]
DisplayName = Annotated[
    str,
    _text("Name to show to others.", example="Ann", maximum=100),
    AfterValidator(_printable),
]


class SignupRequest(RequestModel):
    """A new account."""

    email: EmailText
    password: NewPasswordText
    display_name: DisplayName | None = None


class UpdateAccountRequest(RequestModel):
    """What an owner may change at once."""

    display_name: DisplayName | None = Field(description="Name to show to others; null removes it.")


class ChangePasswordRequest(RequestModel):
    """The current password and the one to take its place."""

    current_password: PasswordText
    new_password: NewPasswordText


class ChangeEmailRequest(RequestModel):
    """A new address, and the current password."""

    new_email: EmailText
    current_password: PasswordText


class DeleteAccountRequest(RequestModel):
    """The current password."""

    current_password: PasswordText


class SendPasswordResetRequest(RequestModel):
    """The address of an account."""

    email: EmailText


class ResetPasswordRequest(RequestModel):
    """The token of a link, and a new password."""

    token: EmailTokenText
    new_password: NewPasswordText


class VerifyEmailRequest(RequestModel):
    """The token of a link."""

    token: EmailTokenText


class User(ResponseModel):
    """An account."""

    id: uuid.UUID = Field(examples=[EXAMPLE_ID])
    email: str = Field(examples=["ann@example.com"], json_schema_extra={"format": "email"})
    email_verified: bool = Field(description="Whether the owner has proved to receive mail there.")
    display_name: str | None = Field(examples=["Ann"])
    roles: list[str] = Field(examples=[["admin"]])
    is_active: bool = Field(description="Whether the account may be used.")
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    updated_at: datetime = Field(examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, user: CoreUser) -> Self:
        """Show a user."""
        return cls(
            id=user.id,
            email=user.email,
            email_verified=user.email_verified,
            display_name=user.display_name,
            roles=list(user.roles),
            is_active=user.is_active,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )
