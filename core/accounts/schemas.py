"""Request models of accounts."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from core.accounts.display_names import is_showable
from core.authentication.schemas import AddressText, NewPasswordText, PasswordText
from core.contract.fields import RequestModel, ResponseModel, text_field, token_field
from core.devices.schemas import EXAMPLE_DEVICE_TOKEN, MAX_DEVICE_TOKEN


def _showable(text: str) -> str:
    if not is_showable(text):
        raise PydanticCustomError("control_character", "Characters that are not shown are not allowed.")
    return text


EmailTokenText = Annotated[str, token_field("The token of the link.", example="twm_3jX0v9m1QdK5y8hB2sUe7wZa4tRfLcPn")]
DisplayName = Annotated[
    str,
    text_field("Name to show to others.", example="Ann", maximum=100),
    AfterValidator(_showable),
]


class SignupRequest(RequestModel):
    """A new account."""

    email: AddressText
    password: NewPasswordText
    display_name: DisplayName | None = None


class SignupAccepted(ResponseModel):
    """What a signup is answered where addresses must be verified, whether the address has an account or not."""

    message: Literal["A message is on its way to this address."]

    @classmethod
    def of_any(cls) -> Self:
        """Make the one answer that there is."""
        return cls(message="A message is on its way to this address.")


class UpdateAccountRequest(RequestModel):
    """What an owner may change at once."""

    display_name: DisplayName | None = Field(description="Name to show to others; null removes it.")


class ChangePasswordRequest(RequestModel):
    """The current password and the one to take its place."""

    current_password: PasswordText
    new_password: NewPasswordText


class ChangeEmailRequest(RequestModel):
    """A new address, and the current password."""

    new_email: AddressText
    current_password: PasswordText


class DeleteAccountRequest(RequestModel):
    """The current password."""

    current_password: PasswordText


class SendPasswordResetRequest(RequestModel):
    """The address of an account."""

    email: AddressText


class ResetPasswordRequest(RequestModel):
    """The token of a link, and a new password."""

    token: EmailTokenText
    new_password: NewPasswordText
    device_token: str | None = Field(
        None,
        max_length=MAX_DEVICE_TOKEN,
        description="The `device_token` of this device, or an empty text: a new one is given in the answer, because a "
        "reset makes those before it worthless.",
        examples=[EXAMPLE_DEVICE_TOKEN],
    )


class ResetDone(ResponseModel):
    """What a reset is answered where a token of the device was asked for."""

    device_token: str = Field(
        description="To be kept on the device and brought along with the next login.", examples=[EXAMPLE_DEVICE_TOKEN]
    )


class VerifyEmailRequest(RequestModel):
    """The token of a link, and where it is needed, the password of the account."""

    token: EmailTokenText
    password: PasswordText | None = None


class UndoEmailChangeRequest(RequestModel):
    """The token of a link."""

    token: EmailTokenText


class DisownAccountRequest(RequestModel):
    """The token of a link."""

    token: EmailTokenText
