"""The export of an account as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.audit.model import AuditEvent
from core.contract.fields import ResponseModel
from core.users.model import User

# The limit of events in an export: a person causes far fewer in a year, a program may cause any number.
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """All stored data of a user, except data that only serves to check secrets."""

    at: datetime
    user: User
    parts: Mapping[str, Sequence[ResponseModel]]
    """The data of each capability, by the member of the export."""
    events: list[AuditEvent]
    """The newest `MOST_EVENTS`, oldest first."""
    has_older_events: bool
