"""Undoing a change of address, by the owner of the old one."""

from __future__ import annotations

from datetime import datetime

from core.accounts.errors import InvalidUndoToken
from core.accounts.removal import remove_account
from core.audit.model import EventKind, event
from core.clock import Clock
from core.errors import TransactionConflict
from core.mail.model import MessageKind, OneTimeToken, Purpose, message
from core.mail.one_time_tokens import find_link, revoke_links
from core.origin import Origin
from core.sessions.model import EndReason
from core.sessions.service import end_sessions
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.users.addresses import EmailAddress, parse_email
from core.users.errors import EmailTaken
from core.users.model import User


class EmailChangeUndo:
    """The use case of a user whose account was given another address by somebody else."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def undo(self, token: str, origin: Origin) -> None:
        """Give an account its earlier address back, end every session, and take its password away.

        Whoever changed the address knew the password, so it lets nobody in from now on: a reset, whose link goes to
        the restored address, sets a new one. A link that was used does nothing more.

        Raises:
            InvalidUndoToken: it is malformed or expired, an earlier change was undone, or another account has the
                address and has verified it.

        """
        now = self._clock.now()
        found = find_link(self._store, token, [Purpose.EMAIL_CHANGE_UNDO], now=now, or_used=True)
        if found is None:
            raise InvalidUndoToken
        if found.used_at is None:
            self._undo(found, parse_email(found.address), origin)

    @retried
    def _undo(self, found: OneTimeToken, address: EmailAddress, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin(found.user_id) as work:
            before = work.users.lock(found.user_id)  # before the token, in the same order everywhere
            if before is None or not work.one_time_tokens.use(found.id, at=now):
                raise InvalidUndoToken
            _make_free(work, address, before, origin, now)
            after = _restore(work, before, address, now)
            self._end_all(work, found, now)
            work.audit.add(event(EventKind.EMAIL_CHANGE_UNDONE, at=now, origin=origin, user_id=after.id))
            work.outbox.add(
                message(MessageKind.EMAIL_CHANGE_UNDONE, at=now, origin=origin, user_id=after.id, address=before.email)
            )
            work.commit()

    def _end_all(self, work: UnitOfWork, found: OneTimeToken, now: datetime) -> None:
        """End the sessions, the links, and what would undo a later change: the addresses after this one lose it.

        What undoes an earlier change stays: whoever took the account over could change the address twice, and use the
        undo of the second change against the first.
        """
        end_sessions(work, found.user_id, at=now, reason=EndReason.EMAIL_CHANGE_UNDONE)
        work.devices.forget_all(found.user_id)
        revoke_links(work, found.user_id, at=now)
        undo = Purpose.EMAIL_CHANGE_UNDO
        work.one_time_tokens.end_all(found.user_id, at=now, purposes=[undo], after=found.id)
        work.outbox.cancel(found.user_id, MessageKind.EMAIL_CHANGED, after=found.id)


def _restore(work: UnitOfWork, before: User, address: EmailAddress, now: datetime) -> User:
    try:
        after = work.users.restore_email(before.id, address.address, canonical_email=address.canonical, at=now)
    except EmailTaken:
        raise TransactionConflict from None  # by a signup since it was looked up
    if after is None:
        raise InvalidUndoToken  # the account was deactivated
    return after


def _make_free(work: UnitOfWork, address: EmailAddress, user: User, origin: Origin, now: datetime) -> None:
    """Remove an account that was made with the address meanwhile and never verified: the link proves its mailbox.

    Otherwise whoever took the account over could keep the address from it by a signup. A verified one stays: only a
    reader of this mailbox can have made it.
    """
    found = work.users.by_email(address.canonical)
    if found is None or found.user.id == user.id:
        return
    other = work.users.lock(found.user.id)
    if other is not None and other.email_verified:
        raise InvalidUndoToken
    remove_account(work, found.user.id, EventKind.ACCOUNT_DISOWNED, at=now, origin=origin)
