"""Request and response models. Requests refuse unknown members; responses show nothing but what stands here."""

import unicodedata
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from core.accounts import Export as CoreExport
from core.auth import Grant, TokenRequest
from core.introspection import ActiveToken
from core.passwords import MAX_CHARACTERS, normalise
from core.sessions import Principal
from core.sessions import Session as CoreSession
from core.sessions import TokenPair as CoreTokenPair
from core.settings import Settings
from core.users import User as CoreUser

EXAMPLE_ID = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
EXAMPLE_SESSION_ID = "0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10"
EXAMPLE_TIME = "2026-11-21T09:30:00Z"
EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - the one from the comic


def _printable(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise PydanticCustomError("control_character", "Control characters are not allowed.")
    return text


def _normal(text: str) -> str:
    """The form in which passwords are compared, and counted: the same letters may be typed as more code points."""
    normal = normalise(text)
    if len(normal) > MAX_CHARACTERS:
        raise PydanticCustomError("string_too_long", "Too long.")
    return normal


def _text(description: str, *, example: str, maximum: int, format_: str | None = None) -> Any:
    extra: JsonDict | None = {"format": format_} if format_ else None
    return Field(min_length=1, max_length=maximum, description=description, examples=[example], json_schema_extra=extra)


EmailText = Annotated[str, _text("E-mail address.", example="ann@example.com", maximum=254, format_="email")]


def _password(description: str) -> Any:
    return Field(
        min_length=1,
        description=description,
        examples=[EXAMPLE_PASSWORD],
        json_schema_extra={"format": "password", "maxLength": MAX_CHARACTERS},
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
        max_length=254,
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
        None, max_length=8192, description="An access or a refresh token.", examples=["twr_AZejwm8efTqbUgxqH06NIQ"]
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
    wait: int = Field(0, ge=0, le=25, description="Seconds to wait where there is nothing new.")


class ResponseModel(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)


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


class TokenPair(ResponseModel):
    """An access token and the refresh token that replaces it."""

    access_token: str = Field(description="JWT after RFC 9068.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[900])
    refresh_token: str = Field(description="Opaque, single use.")
    refresh_expires_in: int = Field(description="Seconds until the refresh token expires unused.", examples=[2592000])

    @classmethod
    def of(cls, pair: CoreTokenPair) -> Self:
        """Show a pair."""
        return cls(
            access_token=pair.access_token,
            expires_in=pair.expires_in,
            refresh_token=pair.refresh_token,
            refresh_expires_in=pair.refresh_expires_in,
        )


class TokenAnswer(ResponseModel):
    """A token answer (RFC 6749 section 5.1)."""

    access_token: str = Field(description="JWT after RFC 9068.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[900])
    refresh_token: str | None = Field(None, description="Opaque, single use; not for `client_credentials`.")
    scope: str | None = Field(None, description="The granted scopes, for `client_credentials`.")

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """Show what was granted."""
        return cls(
            access_token=grant.access_token,
            expires_in=grant.expires_in,
            refresh_token=grant.refresh_token,
            scope=grant.scope,
        )


class Introspection(ResponseModel):
    """What a token is worth (RFC 7662 section 2.2). Of one that is not active, nothing else is said."""

    active: bool
    sub: str | None = Field(None, description="User or client.", examples=[EXAMPLE_ID])
    client_id: str | None = Field(None, examples=["twinauth"])
    sid: str | None = Field(None, description="Session.", examples=[EXAMPLE_SESSION_ID])
    jti: str | None = Field(None, examples=[EXAMPLE_ID])
    token_type: str | None = Field(None, examples=["Bearer"])
    scope: str | None = Field(None, examples=["orders:read"])
    roles: list[str] | None = Field(None, examples=[["admin"]])
    iss: str | None = Field(None, examples=["https://auth.example.com"])
    aud: str | None = Field(None, examples=["https://auth.example.com"])
    iat: int | None = Field(None, description="Seconds since 1970.", examples=[1795253400])
    exp: int | None = Field(None, description="Seconds since 1970.", examples=[1795254300])

    @classmethod
    def of(cls, token: ActiveToken | None, settings: Settings) -> Self:
        """Show a token."""
        if token is None:
            return cls(active=False)
        return cls(
            active=True,
            sub=token.subject,
            client_id=token.client_id,
            sid=token.session_id,
            jti=token.token_id,
            token_type=token.token_type,
            scope=token.scope,
            roles=None if token.roles is None else list(token.roles),
            iss=settings.public_url,
            aud=settings.audience,
            iat=None if token.issued_at is None else int(token.issued_at.timestamp()),
            exp=int(token.expires_at.timestamp()),
        )


class Session(ResponseModel):
    """One login on one device."""

    id: uuid.UUID = Field(examples=[EXAMPLE_SESSION_ID])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    last_used_at: datetime = Field(description="Time of the login or of the last refresh.", examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(description="When it ends if it is not used again.", examples=[EXAMPLE_TIME])
    user_agent: str = Field(examples=["curl/8.5.0"])
    ip: str = Field(examples=["192.0.2.7"])
    current: bool = Field(description="Whether it is the session that asks.")

    @classmethod
    def of(cls, session: CoreSession, principal: Principal) -> Self:
        """Show a session to its user."""
        return cls(
            id=session.id,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.ends_at,
            user_agent=session.user_agent,
            ip=session.ip,
            current=session.id == principal.session_id,
        )


class SessionList(ResponseModel):
    """The live sessions of a user, newest first."""

    items: list[Session]

    @classmethod
    def of(cls, sessions: list[CoreSession], principal: Principal) -> Self:
        """Show the sessions of a user."""
        return cls(items=[Session.of(session, principal) for session in sessions])


class ExportedSession(ResponseModel):
    """A login, live or ended."""

    id: uuid.UUID = Field(examples=[EXAMPLE_SESSION_ID])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    last_used_at: datetime = Field(examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(examples=[EXAMPLE_TIME])
    ended_at: datetime | None = Field(examples=[EXAMPLE_TIME])
    end_reason: str | None = Field(examples=["logout"])
    user_agent: str = Field(examples=["curl/8.5.0"])
    ip: str = Field(examples=["192.0.2.7"])


class ExportedMessage(ResponseModel):
    """A message that was sent, is on its way, or was given up."""

    kind: str = Field(examples=["password_changed"])
    address: str | None = Field(description="Where it goes, if not to the address of the account.", examples=[None])
    languages: str = Field(description="What the browser asked for.", examples=["en"])
    ip: str | None = Field(description="Of the request behind it, until it is sent.", examples=["192.0.2.7"])
    request_id: str | None = Field(
        description="The request behind it, until it is sent.", examples=["5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"]
    )
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    attempts: int = Field(description="How often sending it was tried.", examples=[1])
    last_error: str | None = Field(description="Why the last attempt failed.", examples=["recipient refused: 550"])
    sent_at: datetime | None = Field(examples=[EXAMPLE_TIME])
    dead_at: datetime | None = Field(description="When it was given up.", examples=[None])


class ExportedLink(ResponseModel):
    """A link that was sent; never its token."""

    purpose: str = Field(examples=["password_reset"])
    address: str = Field(examples=["ann@example.com"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(examples=[EXAMPLE_TIME])
    ended_at: datetime | None = Field(examples=[EXAMPLE_TIME])


class ExportedEvent(ResponseModel):
    """A line of the audit log."""

    at: datetime = Field(examples=[EXAMPLE_TIME])
    kind: str = Field(examples=["logged_in"])
    session_id: uuid.UUID | None = Field(examples=[EXAMPLE_SESSION_ID])
    ip: str = Field(examples=["192.0.2.7"])
    request_id: str = Field(examples=["5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"])


class AccountExport(ResponseModel):
    """Everything that is stored about a user, but for what only serves to check secrets."""

    exported_at: datetime = Field(examples=[EXAMPLE_TIME])
    user: User
    sessions: list[ExportedSession]
    messages: list[ExportedMessage]
    links: list[ExportedLink]
    audit_events: list[ExportedEvent] = Field(description="The newest 10,000 and this export, oldest first.")
    has_older_audit_events: bool = Field(description="Whether there are older ones, which only the operator can give.")

    @classmethod
    def of(cls, export: CoreExport) -> Self:
        """Show an export."""
        return cls(
            exported_at=export.at,
            user=User.of(export.user),
            sessions=[
                ExportedSession(
                    id=session.id,
                    created_at=session.created_at,
                    last_used_at=session.last_used_at,
                    expires_at=session.ends_at,
                    ended_at=session.ended_at,
                    end_reason=session.end_reason,
                    user_agent=session.user_agent,
                    ip=session.ip,
                )
                for session in export.sessions
            ],
            messages=[
                ExportedMessage(
                    kind=message.kind,
                    address=message.address,
                    languages=message.languages,
                    ip=message.facts.get("ip"),
                    request_id=message.facts.get("request_id"),
                    created_at=message.created_at,
                    attempts=message.attempts,
                    last_error=message.last_error,
                    sent_at=message.sent_at,
                    dead_at=message.dead_at,
                )
                for message in export.messages
            ],
            links=[
                ExportedLink(
                    purpose=token.purpose,
                    address=token.address,
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                    ended_at=token.ended_at,
                )
                for token in export.email_tokens
            ],
            audit_events=[
                ExportedEvent(
                    at=event.at,
                    kind=event.kind,
                    session_id=event.session_id,
                    ip=event.ip,
                    request_id=event.request_id,
                )
                for event in export.events
            ],
            has_older_audit_events=export.has_older_events,
        )


class JsonWebKey(ResponseModel):
    """The public half of a signing key (RFC 7517)."""

    model_config = ConfigDict(extra="allow")

    kty: str = Field(examples=["EC"])
    kid: str = Field(description="RFC 7638 thumbprint.", examples=["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"])
    use: Literal["sig"] = "sig"
    alg: str = Field(examples=["ES256"])


class JsonWebKeySet(ResponseModel):
    """The keys that verify access tokens, among them the one that will sign next."""

    keys: list[JsonWebKey]


class ServerMetadata(ResponseModel):
    """Authorization server metadata (RFC 8414)."""

    issuer: str = Field(examples=["https://auth.example.com"])
    token_endpoint: str = Field(examples=["https://auth.example.com/v1/token"])
    jwks_uri: str = Field(examples=["https://auth.example.com/.well-known/jwks.json"])
    revocation_endpoint: str = Field(examples=["https://auth.example.com/v1/revoke"])
    introspection_endpoint: str = Field(examples=["https://auth.example.com/v1/introspect"])
    response_types_supported: list[str] = Field(description="None: there is no authorization endpoint.", examples=[[]])
    grant_types_supported: list[str] = Field(examples=[["refresh_token", "client_credentials"]])
    token_endpoint_auth_methods_supported: list[str] = Field(examples=[["none", "client_secret_basic"]])
    revocation_endpoint_auth_methods_supported: list[str] = Field(examples=[["none", "client_secret_basic"]])
    introspection_endpoint_auth_methods_supported: list[str] = Field(examples=[["client_secret_basic"]])


class Health(ResponseModel):
    """A sign of life."""

    status: Literal["ok"] = "ok"


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


class InputProblem(Problem):
    """An error in the input, member by member."""

    errors: list[InputError]


class OAuthError(ResponseModel):
    """An error of an OAuth endpoint (RFC 6749 section 5.2)."""

    error: str = Field(examples=["invalid_grant"])
    error_description: str
