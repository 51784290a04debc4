"""The mail in the export of an account."""

from datetime import datetime
from typing import Self

from pydantic import Field

from core.contract.fields import EXAMPLE_TIME, ResponseModel
from core.mail.model import Message, OneTimeToken


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
    used_at: datetime | None = Field(examples=[EXAMPLE_TIME])

    @classmethod
    def of(cls, token: OneTimeToken) -> Self:
        """Show the token of a link."""
        return cls(
            purpose=token.purpose,
            address=token.address,
            created_at=token.created_at,
            expires_at=token.expires_at,
            ended_at=token.ended_at,
            used_at=token.used_at,
        )
