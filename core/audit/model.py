"""Audit events: the user, the kind and the time. An event never contains an e-mail address, a token or a password."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from core.clock import new_id
from core.origin import Origin

# Longest time between the THROTTLED event and the request's own event: a request may wait in the hash queue.
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
    ACCOUNT_DISOWNED = "account_disowned"
    """The owner of its address, which was never verified, did not make it: it was deleted."""
    ACCOUNT_EXPIRED = "account_expired"
    """Its address was never verified, and nobody used it for long: housekeeping deleted it."""
    SIGNUP_REPEATED = "signup_repeated"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"  # noqa: S105 - the name of an event
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an event
    EMAIL_VERIFIED = "email_verified"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    THROTTLED = "throttled"
    """A counter of attempts reached its burst; the next attempt has to wait."""
    CONFIRMATION_FAILED = "confirmation_failed"
    """The password in a re-authentication was wrong."""
    CLIENT_REFUSED = "client_refused"
    """The authentication of a registered client failed."""
    CLIENT_CREATED = "client_created"
    CLIENT_DISABLED = "client_disabled"
    CLIENT_ENABLED = "client_enabled"
    CLIENT_SECRET_ROTATED = "client_secret_rotated"  # noqa: S105 - the name of an event
    KEY_ROTATED = "key_rotated"
    KEY_RETIRED = "key_retired"
    """A key was ended before its time, and everything that it has signed."""
    KEYS_RESEALED = "keys_resealed"
    SECRET_REPLACED = "secret_replaced"  # noqa: S105 - the name of an event
    """Every session, link and key ended because the secret key had leaked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One line of the audit log."""

    id: uuid.UUID
    at: datetime
    kind: EventKind
    user_id: uuid.UUID | None
    session_id: uuid.UUID | None
    ip: str
    """Empty if there was no request: a change by the command line or by the service itself."""
    request_id: str
    subject: str | None = None
    """The id of a client or of a key, if the event is about one and not about a user."""


class AuditLog(Protocol):
    """Port: the audit log inside one unit of work."""

    def add(self, event: AuditEvent) -> None:
        """Append an event."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[AuditEvent]:
        """Return the events of a user, by their ids: those after one."""
        ...

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events from before a time; return their number."""
        ...

    def forget_addresses(self, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        """Remove the network addresses and the request ids from up to ``limit`` events of a deleted user.

        They are those after an id, oldest first; their ids are returned. The addresses are also removed from the
        throttle's events of the same requests, which name no user. The event of the deletion itself keeps its request
        id.
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
