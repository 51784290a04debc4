"""The composer: turns a due message of the outbox into a letter, if it is to be sent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from core.audit.model import AuditEvent, EventKind, event
from core.clock import CLOCK_SKEW, Clock
from core.mail.model import Message, MessageKind, OneTimeToken, Purpose
from core.mail.one_time_tokens import DIGEST_BYTES, OneTimeTokenMaker, digest_of
from core.mail.recipient_limit import LIMIT_WINDOW, Limit, RecipientLimit
from core.mail.rendering import Letter
from core.origin import Origin
from core.settings.groups import MailSettings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.throttling.model import block_of
from core.throttling.throttle import Throttle
from core.users.addresses import canonical_or_none
from core.users.model import User

# Links that are requested: a newer one replaces those before.
_REQUESTED: Mapping[str, Purpose] = {
    MessageKind.PASSWORD_RESET: Purpose.PASSWORD_RESET,
    MessageKind.EMAIL_VERIFICATION: Purpose.EMAIL_VERIFICATION,
    MessageKind.EMAIL_CHANGE: Purpose.EMAIL_CHANGE,
}
# An undo is part of a notice, and replaced by none: of two changes in a row, each can be undone by its own victim.
_PURPOSES: Mapping[str, Purpose] = {**_REQUESTED, MessageKind.EMAIL_CHANGED: Purpose.EMAIL_CHANGE_UNDO}
# Messages that any caller with an address can cause, or a user with too many requests. Notices about an account are not
# limited if its user has proved to own the address.
_LIMITED: frozenset[str] = frozenset((*_REQUESTED, MessageKind.SIGNUP_ATTEMPTED))
_NOTICES = "notices"
# Messages that a stranger causes by naming an address, without a password or a session.
_BY_ADDRESS: frozenset[str] = frozenset((MessageKind.PASSWORD_RESET, MessageKind.SIGNUP_ATTEMPTED))
REQUESTERS = 3
"""Requesters whose letters by address, each up to the limit, fill the limit of an account together."""
UNDO_TTL = timedelta(days=7)
"""How long a change of address can be undone: long enough for a user who reads no mail over a weekend, or on a trip."""


def is_wanted(message: Message, user: User) -> bool:
    """Whether the message still makes sense for its user."""
    if message.kind in _LIMITED and not user.is_active:
        return False
    return message.kind != MessageKind.EMAIL_VERIFICATION or not user.email_verified


def is_proved(message: Message, user: User) -> bool:
    """Whether the user of a message has proved to own the address that it goes to."""
    if message.kind == MessageKind.EMAIL_CHANGED:
        return True  # it was verified until the change
    if not user.email_verified:
        return False
    return message.address is None or _is_same(message.address, user.email)


def topic_of(kind: str) -> str:
    """Return the counter of a letter to an unproved address: one for each kind that can be requested, one for notices.

    So a new user can lose a link or two, reset the password and still get the notice of it on the first day; notices
    of all kinds together are not more than the letters of any one kind.
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
        throttle: Throttle,
        settings: MailSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._recipient_limit = recipient_limit
        self._throttle = throttle
        self._limit = settings.mail_limit
        self._lifetimes = {
            Purpose.PASSWORD_RESET: settings.reset_ttl,
            Purpose.EMAIL_VERIFICATION: settings.verification_ttl,
            Purpose.EMAIL_CHANGE: settings.verification_ttl,
            Purpose.EMAIL_CHANGE_UNDO: UNDO_TTL,
        }

    @retried
    def prepare(self, message: Message) -> Letter | None:
        """Look up the user of a message and store its token; None if the message is not to be sent.

        A message that is prepared again, after a failed attempt, gives the same letter.
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
                return None  # cancelled since it was claimed; without a commit, its token is not stored
            elif owner is not None and not owner.is_active:
                # No letter to an inactive owner. The requester sees the same as after a letter to an active one.
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
        """Return the other user who already has the address that a user wants, if any."""
        if message.kind != MessageKind.EMAIL_CHANGE:
            return None
        other = work.users.by_email(canonical_or_none(message.address or "") or "")
        return None if other is None or other.user.id == user.id else other.user

    def _letter(
        self, work: UnitOfWork, message: Message, user: User, owner: User | None, now: datetime
    ) -> Letter | None:
        if not is_wanted(message, user) or _is_overtaken(work, message, user, now):
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
        self._save_token(work, letter, user, digest_of(token) or b"", now)
        return replace(letter, token=token, lifetime=self._lifetimes[purpose])

    def _to_owner(self, work: UnitOfWork, letter: Letter, user: User, owner: User, now: datetime) -> Letter:
        """Write to the owner of an address that another user wants, instead of sending the link.

        The requester cannot see the difference: an earlier link has ended, an export shows the same, and it takes as
        long. The stored token is a decoy: its digest is random, so no token matches it.
        """
        self._save_token(work, letter, user, os.urandom(DIGEST_BYTES), now)
        return replace(letter, kind=MessageKind.SIGNUP_ATTEMPTED, recipient=owner.email)

    def _save_token(self, work: UnitOfWork, letter: Letter, user: User, digest: bytes, now: datetime) -> None:
        purpose = _PURPOSES[letter.kind]
        if letter.kind in _REQUESTED:
            work.one_time_tokens.end_all(user.id, at=now, purposes=[purpose])
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
        """Whether the message is within the limits of its user, of its requester and of its address."""
        if message.prepared_at is not None:
            return True  # its first attempt was counted
        is_only_link = _is_only_link(work, message, user, now)
        if not is_only_link and not self._is_within_limit_of_user(work, message, user, now):
            return False
        return self._recipient_limit.count(work, list(self._limits(message, user, is_only_link=is_only_link)), now=now)

    def _is_within_limit_of_user(self, work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
        if message.kind not in _LIMITED:
            return True
        count = work.outbox.prepared_since(
            user.id, message.kind, since=now - LIMIT_WINDOW, until=now + CLOCK_SKEW, excluding=message.id
        )
        # The owner, in a block that has logged in, is not held back by what all others together have requested.
        is_owner = message.kind in _BY_ADDRESS and self._throttle.trusts(work, user.email, _ip(message))
        return is_owner or count < self._limit * _requesters(message)

    def _limits(self, message: Message, user: User, *, is_only_link: bool) -> Iterator[Limit]:
        topic, address = topic_of(message.kind), message.address or user.email
        has_proof = is_proved(message, user)
        missed_after = None
        if is_only_link:
            # Who has signed up with a stranger's address ends links at will, and would make room for more.
            missed_after = timedelta(0) if has_proof else self._lifetimes[_PURPOSES[message.kind]]
        if message.kind in _BY_ADDRESS:
            block = block_of(_ip(message))
            yield self._recipient_limit.of_requester(topic, address, block, missed_after=missed_after)
        if not has_proof:
            yield self._recipient_limit.of_address(
                topic, address, requesters=_requesters(message), missed_after=missed_after
            )


def _requesters(message: Message) -> int:
    return REQUESTERS if message.kind in _BY_ADDRESS else 1


def _ip(message: Message) -> str:
    return message.facts.get("ip", "")


def _is_overtaken(work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
    """Whether a newer link exists, or this one has ended: an attempt that counted as failed had arrived."""
    if message.kind not in _PURPOSES:
        return False
    purpose = _REQUESTED.get(message.kind)
    latest = None if purpose is None else _latest(work, user, purpose, now)
    earlier = work.one_time_tokens.by_id(message.id)
    return bool((latest and _is_newer(latest, message)) or (earlier and earlier.ended_at))


def _is_newer(latest: OneTimeToken, message: Message) -> bool:
    """Whether a link is of a newer message: by its id, unless a wrong clock dated the id after the link itself."""
    return latest.id > message.id and latest.created_at + CLOCK_SKEW >= message.created_at


def _is_only_link(work: UnitOfWork, message: Message, user: User, now: datetime) -> bool:
    """Whether the user has no other link in the mailbox that still works for this purpose.

    Such a link is sent beyond the limit: an attacker who exhausts the limit in a user's name would otherwise keep the
    user from any link for an hour. A link to another address is never sent beyond it: the owner of that address did
    not request it, and a user who ends their own links by changing the password would make room for more.
    """
    purpose = _REQUESTED.get(message.kind)
    if purpose is None or message.address is not None:
        return False
    latest = _latest(work, user, purpose, now)
    return latest is None or latest.ended_at is not None or latest.expires_at <= now


def _latest(work: UnitOfWork, user: User, purpose: Purpose, now: datetime) -> OneTimeToken | None:
    """Return the newest link, unless a wrong clock dated it: it would overtake all others until that date."""
    return work.one_time_tokens.latest(user.id, purpose, until=now + CLOCK_SKEW)


def _is_same(address: str, other: str) -> bool:
    return address == other or canonical_or_none(address) == canonical_or_none(other)


def _requested(message: Message, user: User | None) -> AuditEvent:
    origin = Origin(ip=message.facts["ip"], request_id=message.facts["request_id"])
    user_id = None if user is None else user.id
    return event(EventKind.PASSWORD_RESET_REQUESTED, at=message.created_at, origin=origin, user_id=user_id)
