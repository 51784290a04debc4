"""Request and response models of sessions."""

import uuid
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from core.contract.fields import EXAMPLE_SESSION_ID, EXAMPLE_TIME, QueryModel, ResponseModel, token_field
from core.devices.schemas import given_device_token_field
from core.sessions.model import Principal
from core.sessions.model import Session as CoreSession
from core.sessions.model import TokenPair as CoreTokenPair
from core.tokens.schemas import AccessBody

RefreshTokenText = Annotated[str, token_field("The refresh token.", example="twr_AZejwm8efTqbUgxqH06NIQ")]


class RefreshRequest(AccessBody):
    """A refresh token to exchange."""

    refresh_token: RefreshTokenText


class EndSessionsQuery(QueryModel):
    """Which sessions to end."""

    keep_current: bool = Field(False, description="Keep the session that asks.")


class TokenPair(ResponseModel):
    """An access token and the refresh token that replaces it."""

    access_token: str = Field(description="JWT after RFC 9068.")
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[900])
    refresh_token: str = Field(description="Opaque, single use.")
    refresh_expires_in: int = Field(description="Seconds until the refresh token expires unused.", examples=[2592000])
    scope: str | None = Field(None, description="The granted scopes, where there are any.", examples=["orders:read"])
    device_token: str | None = given_device_token_field(
        "Of a login: to be kept on the device and brought along with the next one."
    )

    @classmethod
    def of(cls, pair: CoreTokenPair) -> Self:
        """Show a pair."""
        return cls(
            access_token=pair.access_token,
            token_type="Bearer",  # noqa: S106 - a scheme
            expires_in=pair.expires_in,
            refresh_token=pair.refresh_token,
            refresh_expires_in=pair.refresh_expires_in,
            scope=pair.scope,
            device_token=pair.device_token,
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

    @classmethod
    def of(cls, session: CoreSession) -> Self:
        """Show a session."""
        return cls(
            id=session.id,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.ends_at,
            ended_at=session.ended_at,
            end_reason=session.end_reason,
            user_agent=session.user_agent,
            ip=session.ip,
        )
