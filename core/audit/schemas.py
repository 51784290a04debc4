"""The audit events in the export of an account."""

import uuid
from datetime import datetime
from typing import Self

from pydantic import Field

from core.audit.model import AuditEvent
from core.contract.fields import EXAMPLE_SESSION_ID, EXAMPLE_TIME, ResponseModel


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
