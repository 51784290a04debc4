"""The response model of the export of an account."""

from datetime import datetime
from typing import Self

from pydantic import ConfigDict, Field

from core.audit.schemas import ExportedEvent
from core.contract.fields import EXAMPLE_TIME, ResponseModel
from core.devices.schemas import ExportedDevice
from core.mail.schemas import ExportedLink, ExportedMessage
from core.sessions.schemas import ExportedSession
from core.users.model import User as CoreUser
from core.users.schemas import User


class ExportHead(ResponseModel):
    """The first members of an export."""

    exported_at: datetime = Field(examples=[EXAMPLE_TIME])
    user: User

    @classmethod
    def of(cls, user: CoreUser, at: datetime) -> Self:
        """Show whose export it is, and when it was made."""
        return cls(exported_at=at, user=User.of(user))


class AccountExport(ExportHead):
    """Everything that is stored about a user, but for what only serves to check secrets. Each list is oldest first."""

    # A further capability of an embedding application adds its own part, which the document does not name.
    model_config = ConfigDict(extra="allow", json_schema_extra=lambda schema: schema.pop("additionalProperties", None))

    sessions: list[ExportedSession]
    devices: list[ExportedDevice]
    messages: list[ExportedMessage]
    links: list[ExportedLink]
    audit_events: list[ExportedEvent] = Field(description="The last one is this export.")
