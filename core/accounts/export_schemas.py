"""The response model of the export of an account."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field

from core.accounts.model import Export
from core.audit.schemas import ExportedEvent
from core.contract.fields import EXAMPLE_TIME, ResponseModel
from core.devices.schemas import ExportedDevice
from core.mail.schemas import ExportedLink, ExportedMessage
from core.sessions.schemas import ExportedSession
from core.users.schemas import User


class AccountExport(ResponseModel):
    """Everything that is stored about a user, but for what only serves to check secrets."""

    # A further capability of an embedding application adds its own part, which the document does not name.
    model_config = ConfigDict(extra="allow", json_schema_extra=lambda schema: schema.pop("additionalProperties", None))

    exported_at: datetime = Field(examples=[EXAMPLE_TIME])
    user: User
    sessions: list[ExportedSession]
    devices: list[ExportedDevice]
    messages: list[ExportedMessage]
    links: list[ExportedLink]
    audit_events: list[ExportedEvent] = Field(description="The newest 10,000 and this export, oldest first.")
    has_older_audit_events: bool = Field(description="Whether there are older ones, which only the operator can give.")

    @classmethod
    def of(cls, export: Export) -> Self:
        """Show an export."""
        parts: dict[str, Any] = dict(export.parts)
        return cls(
            exported_at=export.at,
            user=User.of(export.user),
            **parts,
            audit_events=[ExportedEvent.of(event) for event in export.events],
            has_older_audit_events=export.has_older_events,
        )
