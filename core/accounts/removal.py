"""The removal of an account, whoever asks for it."""

import uuid
from datetime import datetime

from core.audit.model import EventKind, event
from core.clock import CLOCK_SKEW, next_second
from core.origin import Origin
from core.store import UnitOfWork
from core.tokens.model import RevocationKind
from core.tokens.revocation_feed import revoke


def remove_account(work: UnitOfWork, user_id: uuid.UUID, kind: EventKind, *, at: datetime, origin: Origin) -> bool:
    """Delete an account: nobody gets in from now on, and its address is free.

    What it leaves behind grows with its history, so the housekeeping erases it (`core.accounts.deletion`). False if
    there is no such user.
    """
    if (canonical := work.users.mark_deleted(user_id, at=at)) is None:
        return False
    # One entry for verifiers, however many sessions there are: no token of the account is any good, nor is one of a
    # process whose clock is ahead.
    revoke(work, RevocationKind.SUBJECT, [str(user_id)], at=at, not_before=next_second(at + CLOCK_SKEW))
    # An unsent request for a link names the address and no user.
    work.outbox.forget_address(canonical)
    work.audit.add(event(kind, at=at, origin=origin, user_id=user_id))
    return True
