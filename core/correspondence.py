"""Correspondence: what a message in the outbox becomes when its time has come, if anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.audit import AuditEvent, Client, EventKind, event
from core.clock import Clock, new_id
from core.email_tokens import EmailToken, EmailTokenMaker, Purpose, digest_of
from core.emails import parse_email
from core.letters import Letter
from core.outbox import Message, MessageKind
from core.retries import retried
from core.settings import MailSettings

if TYPE_CHECKING:
    from core.store import Store, UnitOfWork
    from core.users import User

LIMIT_WINDOW = timedelta(hours=1)

_PURPOSES = {
    MessageKind.PASSWORD_RESET: Purpose.PASSWORD_RESET,
    MessageKind.EMAIL_VERIFICATION: Purpose.EMAIL_VERIFICATION,
    MessageKind.EMAIL_CHANGE: Purpose.EMAIL_CHANGE,
}
# What anybody can cause who knows an address, or a user who asks too often. Notices of what has happened to an
# account are never held back.
_LIMITED = frozenset((*_PURPOSES, MessageKind.SIGNUP_ATTEMPTED))


def is_wanted(message: Message, user: User) -> bool:
    """Whether a user is to be sent a message at all."""
    if message.kind in _LIMITED and not user.is_active:
        return False
    return message.kind is not MessageKind.EMAIL_VERIFICATION or not user.email_verified


class Correspondence:
    """Prepares messages for sending."""

    def __init__(self, *, store: Store, clock: Clock, tokens: EmailTokenMaker, settings: MailSettings) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._limit = settings.mail_limit
        self._lifetimes = {
            Purpose.PASSWORD_RESET: settings.reset_ttl,
            Purpose.EMAIL_VERIFICATION: settings.verification_ttl,
            Purpose.EMAIL_CHANGE: settings.verification_ttl,
        }

    @retried
    def prepare(self, message: Message) -> Letter | None:
        """Find out whom a message is for, and store the token it carries; None where it is not to be sent.

        Prepared a second time, after an attempt that failed or was cut off, a message gives the same letter.
        """
        now = self._clock.now()
        with self._store.begin() as work:
            user = self._user(work, message)
            if message.kind is MessageKind.PASSWORD_RESET and message.user_id is None:
                work.audit.add(_requested(message, user))
            letter = None if user is None else self._letter(work, message, user, now)
            if letter is None or user is None:
                work.outbox.remove(message.id)
            elif not work.outbox.prepare(message.id, user_id=user.id, at=now):
                return None  # cancelled since it was claimed; without a commit, its token was never made
            work.commit()
        return letter

    def _user(self, work: UnitOfWork, message: Message) -> User | None:
        user_id = message.user_id
        if user_id is None and message.canonical_email is not None:
            account = work.users.by_email(message.canonical_email)
            user_id = account.user.id if account else None
        return None if user_id is None else work.users.hold(user_id)

    def _letter(self, work: UnitOfWork, message: Message, user: User, now: datetime) -> Letter | None:
        if not is_wanted(message, user) or self._is_too_much(work, message, user, now):
            return None
        if message.kind is MessageKind.EMAIL_CHANGE and self._is_taken(work, message, user):
            return None
        recipient = message.address or user.email
        letter = Letter(
            id=message.id,
            kind=message.kind,
            recipient=recipient,
            languages=message.languages,
            at=message.created_at,
            facts=message.facts,
        )
        purpose = _PURPOSES.get(message.kind)
        return letter if purpose is None else self._with_token(work, message, user, letter, purpose, now)

    def _with_token(
        self, work: UnitOfWork, message: Message, user: User, letter: Letter, purpose: Purpose, now: datetime
    ) -> Letter | None:
        latest = work.email_tokens.latest(user.id, purpose)
        earlier = work.email_tokens.by_id(message.id)
        if (latest and latest.id > message.id) or (earlier and earlier.ended_at):
            # A newer link is on its way, or this one was used, or lost its worth, while nobody knew that it arrived.
            return None
        token = self._tokens.make(message.id, message.seed)
        lifetime = self._lifetimes[purpose]
        work.email_tokens.end_all(user.id, at=now, purpose=purpose)
        work.email_tokens.put(
            EmailToken(
                id=message.id,
                user_id=user.id,
                purpose=purpose,
                digest=digest_of(token) or b"",
                address=letter.recipient,
                created_at=now,
                expires_at=now + lifetime,
            )
        )
        return replace(letter, token=token, lifetime=lifetime)

    def _is_too_much(self, work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
        if message.kind not in _LIMITED:
            return False
        count = work.outbox.prepared_since(user.id, message.kind, since=now - LIMIT_WINDOW, but=message.id)
        return count >= self._limit and not self._is_missed(work, message, user, now)

    def _is_missed(self, work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
        """Whether nothing in the mailbox of the user would do what this message does.

        Otherwise whoever spends the limit in a user's name would keep the user from any link until the hour is over.
        A link to another address is not missed: its owner did not ask for it, and a user who ends links of their own
        by changing the password would make room for more.
        """
        purpose = _PURPOSES.get(message.kind)
        if purpose is None or message.address is not None:
            return False
        latest = work.email_tokens.latest(user.id, purpose)
        return latest is None or latest.id == message.id or latest.ended_at is not None or latest.expires_at <= now

    def _is_taken(self, work: UnitOfWork, message: Message, user: User) -> bool:
        """Whether the new address has another account; its owner is told instead, and nobody else."""
        canonical = parse_email(message.address or "").canonical
        other = work.users.by_email(canonical)
        if other is None or other.user.id == user.id:
            return False
        work.outbox.add(
            replace(
                message,
                id=new_id(message.created_at),
                kind=MessageKind.SIGNUP_ATTEMPTED,
                user_id=other.user.id,
                address=None,
                attempts=0,
                due_at=message.created_at,
            )
        )
        return True


def _requested(message: Message, user: User | None) -> AuditEvent:
    client = Client(ip=message.facts["ip"], request_id=message.facts["request_id"])
    user_id = None if user is None else user.id
    return event(EventKind.PASSWORD_RESET_REQUESTED, at=message.created_at, client=client, user_id=user_id)
