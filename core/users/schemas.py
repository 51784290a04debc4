"""The user in answers."""

import uuid
from datetime import datetime
from typing import Self

from pydantic import Field

from core.contract.fields import EXAMPLE_ID, EXAMPLE_TIME, ResponseModel
from core.users.model import User as CoreUser


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
