"""What is stored about a user, as an export gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.audit.model import AuditEvent
from core.contract.fields import ResponseModel
from core.users.model import User

# Of an export: what a person causes in a year is far less, and what a program causes has no end.
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Everything that is stored about a user, except what only serves to check secrets."""

    at: datetime
    user: User
    parts: Mapping[str, Sequence[ResponseModel]]
    """What each capability stores, by the member of the export."""
    events: list[AuditEvent]
    """The newest `MOST_EVENTS`, oldest first."""
    has_older_events: bool
