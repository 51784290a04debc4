"""What is stored about a user, as an export gives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.audit.model import AuditEvent
from core.mail.model import Message, OneTimeToken
from core.sessions.model import Session
from core.users.model import User

# Of an export: what a person causes in a year is far less, and what a program causes has no end.
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Everything that is stored about a user, but for what only serves to check secrets."""

    at: datetime
    user: User
    sessions: list[Session]
    messages: list[Message]
    one_time_tokens: list[OneTimeToken]
    events: list[AuditEvent]
    """The newest `MOST_EVENTS`, oldest first."""
    has_older_events: bool
