"""Composer: what a message in the outbox becomes when its time has come, if anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from core.audit.model import AuditEvent, EventKind, event
from core.clock import Clock
from core.mail.model import Message, MessageKind, OneTimeToken, Purpose
from core.mail.one_time_tokens import DIGEST_BYTES, OneTimeTokenMaker, digest_of
from core.mail.recipient_limit import LIMIT_WINDOW, RecipientLimit
from core.mail.rendering import Letter
from core.origin import Origin
from core.settings.groups import MailSettings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.users.addresses import canonical_or_none
from core.users.model import User

_PURPOSES: Mapping[str, Purpose] = {
    MessageKind.PASSWORD_RESET: Purpose.PASSWORD_RESET,
    MessageKind.EMAIL_VERIFICATION: Purpose.EMAIL_VERIFICATION,
    MessageKind.EMAIL_CHANGE: Purpose.EMAIL_CHANGE,
}
# What anybody can cause who knows an address, or a user who asks too often. Notices of what has happened to an
# account are not held back from an address that the account has proved to be its own.
_LIMITED: frozenset[str] = frozenset((*_PURPOSES, MessageKind.SIGNUP_ATTEMPTED))
_NOTICES = "notices"


def is_wanted(message: Message, user: User) -> bool:
    """Whether a user is to be sent a message at all."""
    if message.kind in _LIMITED and not user.is_active:
        return False
    return message.kind != MessageKind.EMAIL_VERIFICATION or not user.email_verified


def is_proved(message: Message, user: User) -> bool:
    """Whether the address that a message goes to is known to be its user's own."""
    if not user.email_verified:
        return False
    return message.address is None or _is_same(message.address, user.email)


def topic_of(kind: str) -> str:
    """What a letter counts as at an address that nobody has proved: each that can be asked for as itself.

    So a newcomer's first day has room for a link or two that went astray, a reset, and the notice of a new password,
    and notices of one kind and of another are not together more than any of these.
    """
    return kind if kind in _LIMITED else _NOTICES


class Composer:
    """Prepares messages for sending."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        tokens: OneTimeTokenMaker,
        recipient_limit: RecipientLimit,
        settings: MailSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._recipient_limit = recipient_limit
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
            if message.kind == MessageKind.PASSWORD_RESET and message.user_id is None:
                work.audit.add(_requested(message, user))
            owner = None if user is None else self._owner(work, message, user)
            letter = None if user is None else self._letter(work, message, user, owner, now)
            if letter is None or user is None:
                work.outbox.remove(message.id)
            elif not work.outbox.prepare(message.id, user_id=user.id, at=now):
                return None  # cancelled since it was claimed; without a commit, its token was never made
            elif owner is not None and not owner.is_active:
                # Nobody is told, and who asked is shown what is shown where somebody was.
                work.outbox.finish(message, at=now)
                letter = None
            work.commit()
        return letter

    def _user(self, work: UnitOfWork, message: Message) -> User | None:
        user_id = message.user_id
        if user_id is None and message.canonical_email is not None:
            account = work.users.by_email(message.canonical_email)
            user_id = account.user.id if account else None
        return None if user_id is None else work.users.lock(user_id)

    def _owner(self, work: UnitOfWork, message: Message, user: User) -> User | None:
        """Who has the address already that a user wants, if somebody else does."""
        if message.kind != MessageKind.EMAIL_CHANGE:
            return None
        other = work.users.by_email(canonical_or_none(message.address or "") or "")
        return None if other is None or other.user.id == user.id else other.user

    def _letter(
        self, work: UnitOfWork, message: Message, user: User, owner: User | None, now: datetime
    ) -> Letter | None:
        if not is_wanted(message, user) or _is_overtaken(work, message, user):
            return None
        if not self._is_allowed(work, message, user, now):
            return None
        letter = Letter(
            id=message.id,
            kind=message.kind,
            recipient=message.address or user.email,
            languages=message.languages,
            at=message.created_at,
            facts=message.facts,
        )
        purpose = _PURPOSES.get(message.kind)
        if purpose is None:
            return letter
        if owner is not None:
            return self._to_owner(work, letter, user, owner, now)
        token = self._tokens.make(message.id, message.seed)
        self._put_token(work, letter, user, digest_of(token) or b"", now)
        return replace(letter, token=token, lifetime=self._lifetimes[purpose])

    def _to_owner(self, work: UnitOfWork, letter: Letter, user: User, owner: User, now: datetime) -> Letter:
        """Tell the owner of an address that somebody else wants, in place of the link and on its way.

        Whoever asked cannot see the difference: an earlier link has ended, an export shows the same, and it takes as
        long. The token that is stored is none: nobody knows what its digest would be of.
        """
        self._put_token(work, letter, user, os.urandom(DIGEST_BYTES), now)
        return replace(letter, kind=MessageKind.SIGNUP_ATTEMPTED, recipient=owner.email)

    def _put_token(self, work: UnitOfWork, letter: Letter, user: User, digest: bytes, now: datetime) -> None:
        purpose = _PURPOSES[letter.kind]
        work.one_time_tokens.end_all(user.id, at=now, purpose=purpose)
        work.one_time_tokens.save(
            OneTimeToken(
                id=letter.id,
                user_id=user.id,
                purpose=purpose,
                digest=digest,
                address=letter.recipient,
                created_at=now,
                expires_at=now + self._lifetimes[purpose],
            )
        )

    def _is_allowed(self, work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
        """Whether it is not too much for its user, nor for its address."""
        if message.prepared_at is not None:
            return True  # it was counted at its first attempt
        is_missed = _is_missed(work, message, user, now)
        if message.kind in _LIMITED and not is_missed:
            count = work.outbox.prepared_since(user.id, message.kind, since=now - LIMIT_WINDOW, excluding=message.id)
            if count >= self._limit:
                return False
        if is_proved(message, user):
            return True
        missed_after = self._lifetimes[_PURPOSES[message.kind]] if is_missed else None
        address = message.address or user.email
        return self._recipient_limit.count(work, topic_of(message.kind), address, now=now, missed_after=missed_after)


def _is_overtaken(work: UnitOfWork, message: Message, user: User) -> bool:
    """Whether a newer link is on its way, or this one was used, or lost its worth, while nobody knew it arrived."""
    purpose = _PURPOSES.get(message.kind)
    if purpose is None:
        return False
    latest = work.one_time_tokens.latest(user.id, purpose)
    earlier = work.one_time_tokens.by_id(message.id)
    return bool((latest and latest.id > message.id) or (earlier and earlier.ended_at))


def _is_missed(work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
    """Whether nothing in the mailbox of the user would do what this message does.

    Otherwise whoever spends the limit in a user's name would keep the user from any link until the hour is over.
    A link to another address is not missed: its owner did not ask for it, and a user who ends links of their own
    by changing the password would make room for more.
    """
    purpose = _PURPOSES.get(message.kind)
    if purpose is None or message.address is not None:
        return False
    latest = work.one_time_tokens.latest(user.id, purpose)
    return latest is None or latest.ended_at is not None or latest.expires_at <= now


def _is_same(address: str, other: str) -> bool:
    return address == other or canonical_or_none(address) == canonical_or_none(other)


def _requested(message: Message, user: User | None) -> AuditEvent:
    origin = Origin(ip=message.facts["ip"], request_id=message.facts["request_id"])
    user_id = None if user is None else user.id
    return event(EventKind.PASSWORD_RESET_REQUESTED, at=message.created_at, origin=origin, user_id=user_id)
