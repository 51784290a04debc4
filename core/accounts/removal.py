"""The removal of an account, whoever asks for it."""

import uuid
from datetime import datetime

from core.audit.model import EventKind, event
from core.origin import Origin
from core.sessions.model import EndReason
from core.sessions.service import end_sessions
from core.store import UnitOfWork


def remove_account(work: UnitOfWork, user_id: uuid.UUID, kind: EventKind, *, at: datetime, origin: Origin) -> bool:
    """Delete a user with all data, and remove the network addresses from the user's audit events.

    False if there is no such user.
    """
    end_sessions(work, user_id, at=at, reason=EndReason.ACCOUNT_DELETED)
    if (canonical := work.users.remove(user_id)) is None:
        return False
    # An unsent request for a link names the address and no user.
    work.outbox.forget_address(canonical)
    work.audit.add(event(kind, at=at, origin=origin, user_id=user_id))
    work.audit.forget_addresses(user_id)
    return True
