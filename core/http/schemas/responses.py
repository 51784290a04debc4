"""What answers show, but for errors and the export of an account."""

import uuid
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from core.introspection import ActiveToken
from core.sessions import Principal
from core.sessions import Session as CoreSession
from core.sessions import TokenPair as CoreTokenPair
from core.settings import Settings
from core.token_endpoint import Grant
from core.users import User as CoreUser

EXAMPLE_ID = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
EXAMPLE_SESSION_ID = "0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10"
EXAMPLE_TIME = "2026-11-21T09:30:00Z"


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
