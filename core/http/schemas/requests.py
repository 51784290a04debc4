"""What requests bring: bodies, forms and queries."""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from core import emails, password_policy, revocations, tokens
from core.token_endpoint import TokenRequest

EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - the one from the comic


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise PydanticCustomError("control_character", "Control characters are not allowed.")
    return text


def _normal(text: str) -> str:
    """The form in which passwords are compared, and counted: the same letters may be typed as more code points."""
    normal = password_policy.normalise(text)
    if len(normal) > password_policy.MAX_CHARACTERS:
        raise PydanticCustomError("string_too_long", "Too long.")
    return normal


def _text(description: str, *, example: str, maximum: int, format_: str | None = None) -> Any:
    extra: JsonDict | None = {"format": format_} if format_ else None
    return Field(min_length=1, max_length=maximum, description=description, examples=[example], json_schema_extra=extra)


EmailText = Annotated[
    str, _text("E-mail address.", example="ann@example.com", maximum=emails.MAX_LENGTH, format_="email")
]


def _password(description: str) -> Any:
    return Field(
        min_length=1,
        max_length=password_policy.MAX_TYPED,  # before it is made normal
        description=description,
        examples=[EXAMPLE_PASSWORD],
        json_schema_extra={"format": "password", "maxLength": password_policy.MAX_CHARACTERS},
    )


PasswordText = Annotated[str, _password("Exactly as typed."), AfterValidator(_normal)]
NewPasswordText = Annotated[
    str,
    _password("At least 12 characters (a setting), no composition rules; common ones are refused."),
    AfterValidator(_normal),
]
RefreshTokenText = Annotated[str, _text("The refresh token.", example="twr_AZejwm8efTqbUgxqH06NIQ", maximum=512)]
EmailTokenText = Annotated[
    str, _text("The token of the link.", example="twm_3jX0v9m1QdK5y8hB2sUe7wZa4tRfLcPn", maximum=512)
]
DisplayName = Annotated[
    str,
    _text("Name to show to others.", example="Ann", maximum=100),
    AfterValidator(_printable),
]


class RequestModel(BaseModel):
    """Base of request bodies: an unknown member is an error, never obeyed and never ignored."""

    model_config = ConfigDict(extra="forbid")


class SignupRequest(RequestModel):
    """A new account."""

    email: EmailText
    password: NewPasswordText
    display_name: DisplayName | None = None


class LoginRequest(RequestModel):
    """An address and its password."""

    email: EmailText
    password: PasswordText


class RefreshRequest(RequestModel):
    """A refresh token to exchange."""

    refresh_token: RefreshTokenText


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


class TokenForm(BaseModel):
    """A token request (RFC 6749). Unknown parameters are ignored, as its section 3.2 asks."""

    model_config = ConfigDict(extra="ignore")

    grant_type: str | None = Field(
        None, description="`password`, `refresh_token` or `client_credentials`.", examples=["password"]
    )
    username: str | None = Field(
        None,
        max_length=emails.MAX_LENGTH,
        description="E-mail address, for the grant `password`.",
        examples=["ann@example.com"],
    )
    password: PasswordText | None = Field(None, description="Password, for the grant `password`.")
    refresh_token: str | None = Field(
        None,
        max_length=512,
        description="Refresh token, for the grant `refresh_token`.",
        examples=["twr_AZejwm8efTqbUgxqH06NIQ"],
    )
    scope: str | None = Field(
        None,
        max_length=1000,
        description="Scopes separated by spaces, for the grant `client_credentials`; all of the client's by default.",
        examples=["orders:read"],
    )

    def to_core(self) -> TokenRequest:
        """The request in the core's terms."""
        return TokenRequest(
            grant_type=self.grant_type,
            username=self.username,
            password=self.password,
            refresh_token=self.refresh_token,
            scope=self.scope,
        )


class InspectedTokenForm(BaseModel):
    """A token to inspect or to revoke (RFC 7662, RFC 7009). The hint may be wrong; both kinds are tried anyway."""

    model_config = ConfigDict(extra="ignore")

    token: str | None = Field(
        None,
        max_length=tokens.MAX_CHARACTERS,
        description="An access or a refresh token.",
        examples=["twr_AZejwm8efTqbUgxqH06NIQ"],
    )
    token_type_hint: str | None = Field(
        None, max_length=100, description="`access_token` or `refresh_token`; not needed.", examples=["refresh_token"]
    )


class QueryModel(BaseModel):
    """Base of queries: a misspelt `keep_current` must not end every session."""

    model_config = ConfigDict(extra="forbid")


class EndSessionsQuery(QueryModel):
    """Which sessions to end."""

    keep_current: bool = Field(False, description="Keep the session that asks.")


class RevocationsQuery(QueryModel):
    """From where on, and how long to wait for news."""

    since: str | None = Field(None, description="The cursor of the answer before; without it, everything in force.")
    wait: int = Field(0, ge=0, le=revocations.MAX_WAIT, description="Seconds to wait where there is nothing new.")
