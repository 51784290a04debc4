"""Audit events: who did what, and when. No e-mail address, no token, no password is ever part of one."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from core.clock import new_id
from core.origin import Origin

# From what the throttle puts down to what comes of the request, which may wait in the line of hashes in between.
LONGEST_REQUEST = timedelta(seconds=30)


class EventKind(StrEnum):
    """What happened."""

    SIGNED_UP = "signed_up"
    LOGGED_IN = "logged_in"
    LOGIN_FAILED = "login_failed"
    LOGGED_OUT = "logged_out"
    SESSION_ENDED = "session_ended"
    SESSIONS_ENDED = "sessions_ended"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 - the name of an event
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an event
    PASSWORD_CHANGE_FAILED = "password_change_failed"  # noqa: S105 - the name of an event
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the name of an event
    ACCOUNT_UPDATED = "account_updated"
    ACCOUNT_EXPORTED = "account_exported"
    ACCOUNT_DELETED = "account_deleted"
    SIGNUP_REPEATED = "signup_repeated"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"  # noqa: S105 - the name of an event
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an event
    EMAIL_VERIFIED = "email_verified"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    THROTTLED = "throttled"
    """An allowance of attempts was spent; the next one has to wait."""
    CONFIRMATION_FAILED = "confirmation_failed"
    """The current password, asked for before a change, was wrong."""
    CLIENT_REFUSED = "client_refused"
    """A registered client did not prove who it is."""
    CLIENT_CREATED = "client_created"
    CLIENT_DISABLED = "client_disabled"
    CLIENT_ENABLED = "client_enabled"
    CLIENT_SECRET_ROTATED = "client_secret_rotated"  # noqa: S105 - the name of an event
    KEY_ROTATED = "key_rotated"
    KEYS_RESEALED = "keys_resealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One line of the audit log."""

    id: uuid.UUID
    at: datetime
    kind: EventKind
    user_id: uuid.UUID | None
    session_id: uuid.UUID | None
    ip: str
    """Empty where it was done on the machine, by the command line or by itself."""
    request_id: str
    subject: str | None = None
    """What it happened to where that is no user: the id of a client or of a key."""


class AuditLog(Protocol):
    """Port: the audit log inside one unit of work."""

    def add(self, event: AuditEvent) -> None:
        """Append an event."""
        ...

    def of(self, user_id: uuid.UUID, *, limit: int) -> list[AuditEvent]:
        """The newest events of a user, oldest first."""
        ...

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events from before then; how many there were."""
        ...

    def forget_addresses(self, user_id: uuid.UUID) -> None:
        """Remove the network addresses from the events of a user who leaves, and the ids of their requests.

        The addresses also from what the throttle put down in these requests, where no user is named. Of the deletion
        itself, the request is kept.
        """
        ...


def event(
    kind: EventKind,
    *,
    at: datetime,
    origin: Origin,
    user_id: uuid.UUID | None = None,
    session_id: uuid.UUID | None = None,
    subject: str | None = None,
) -> AuditEvent:
    """Make an event of ``kind`` that happened at ``at``."""
    return AuditEvent(
        id=new_id(at),
        at=at,
        kind=kind,
        user_id=user_id,
        session_id=session_id,
        ip=origin.ip,
        request_id=origin.request_id,
        subject=subject,
    )
