"""What the export of an account shows."""

import uuid
from datetime import datetime
from typing import Self

from pydantic import Field

from core.accounts.model import Export
from core.accounts.schemas import User
from core.audit.model import AuditEvent
from core.contract.fields import EXAMPLE_SESSION_ID, EXAMPLE_TIME, ResponseModel
from core.mail.model import Message, OneTimeToken
from core.sessions.model import Session


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
    def of(cls, session: Session) -> Self:
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

    @classmethod
    def of(cls, message: Message) -> Self:
        """Show a message."""
        return cls(
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


class ExportedLink(ResponseModel):
    """A link that was sent; never its token."""

    purpose: str = Field(examples=["password_reset"])
    address: str = Field(examples=["ann@example.com"])
    created_at: datetime = Field(examples=[EXAMPLE_TIME])
    expires_at: datetime = Field(examples=[EXAMPLE_TIME])
    ended_at: datetime | None = Field(examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, token: OneTimeToken) -> Self:
        """Show the token of a link."""
        return cls(
            purpose=token.purpose,
            address=token.address,
            created_at=token.created_at,
            expires_at=token.expires_at,
            ended_at=token.ended_at,
        )


class ExportedEvent(ResponseModel):
    """A line of the audit log."""

    at: datetime = Field(examples=[EXAMPLE_TIME])
    kind: str = Field(examples=["logged_in"])
    session_id: uuid.UUID | None = Field(examples=[EXAMPLE_SESSION_ID])
    ip: str = Field(examples=["192.0.2.7"])
    request_id: str = Field(examples=["5f2c9a1e4b7d4c0f8a3e6d1b9c2f7a40"])

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Show an event."""
        return cls(
            at=event.at,
            kind=event.kind,
            session_id=event.session_id,
            ip=event.ip,
            request_id=event.request_id,
        )


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
    def of(cls, export: Export) -> Self:
        """Show an export."""
        return cls(
            exported_at=export.at,
            user=User.of(export.user),
            sessions=[ExportedSession.of(session) for session in export.sessions],
            messages=[ExportedMessage.of(message) for message in export.messages],
            links=[ExportedLink.of(token) for token in export.one_time_tokens],
            audit_events=[ExportedEvent.of(event) for event in export.events],
            has_older_audit_events=export.has_older_events,
        )
