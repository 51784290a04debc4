"""The export of an account as a value, and the port for accounts that were never verified."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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


class UnverifiedAccounts(Protocol):
    """Port: the accounts whose address was never verified, inside one unit of work."""

    def enrol(self, *, review_at: datetime, limit: int) -> None:
        """Set the first review of up to ``limit`` accounts that have none."""
        ...

    def due(self, *, now: datetime, limit: int) -> list[uuid.UUID]:
        """Lock up to ``limit`` active accounts whose review is due; return their ids.

        Accounts that another process holds at this moment are passed over.
        """
        ...

    def unused(self, user_ids: Collection[uuid.UUID], *, since: datetime, now: datetime) -> list[uuid.UUID]:
        """Return those of the accounts that are older than a time, not used since, and have no live session."""
        ...

    def postpone(self, user_ids: Collection[uuid.UUID], *, until: datetime) -> None:
        """Set the next review of accounts."""
        ...
