"""The port for accounts that were never verified."""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Protocol


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
