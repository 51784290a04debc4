"""Messages on their way, the one-time tokens that they carry, and when the next attempt to send one is due."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from core.clock import new_id
from core.origin import Origin

SEED_BYTES = 16
MAX_LANGUAGES = 100  # characters kept of an Accept-Language
MAX_ERROR = 200
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(hours=1)


class MessageKind(StrEnum):
    """What a message says."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a message
    EMAIL_VERIFICATION = "email_verification"
    EMAIL_CHANGE = "email_change"
    """To the new address, which confirms with its link."""
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a message
    SESSION_ENDED = "session_ended"
    """A used refresh token came back."""
    SIGNUP_ATTEMPTED = "signup_attempted"
    """Somebody tried to sign up with an address that has an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message on its way.

    It says whom it is for and not yet what stands in it: that is found out when it is sent. So a request for an
    address that nobody has costs its caller exactly what one for a known address costs, and no token is stored in a
    form that can be presented.
    """

    id: uuid.UUID
    kind: str
    """A `MessageKind`, or one of a capability outside the core."""
    user_id: uuid.UUID | None
    canonical_email: str | None
    """Whose account it is about, where the caller only named an address."""
    address: str | None
    """Where it goes, if not to the address that the account has when it is sent."""
    languages: str
    """The Accept-Language of the request."""
    facts: Mapping[str, str]
    seed: bytes = field(repr=False)
    created_at: datetime
    due_at: datetime | None
    """When the next attempt is due; None where nothing is to be done any more."""
    attempts: int = 0
    prepared_at: datetime | None = None
    """When it was found, for the first time, that it may be sent."""
    sent_at: datetime | None = None
    dead_at: datetime | None = None
    last_error: str | None = None


class Outbox(Protocol):
    """Port: the messages inside one unit of work."""

    def add(self, message: Message) -> None:
        """Store a new message."""
        ...

    def is_due(self, *, now: datetime) -> bool:
        """Whether an attempt is due, without taking it."""
        ...

    def claim(self, *, now: datetime, lease: timedelta) -> Message | None:
        """Take the message that is due longest; unless something else is said of it, it is due again after the lease.

        Messages that another process is just taking are passed over.
        """
        ...

    def prepare(self, message_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime) -> bool:
        """Note that a message was found to be for a user and may be sent; the first time counts.

        False where it was cancelled since it was claimed.
        """
        ...

    def prepared_since(self, user_id: uuid.UUID, kind: str, *, since: datetime, excluding: uuid.UUID) -> int:
        """How many messages of a kind were prepared for a user since then, but for one."""
        ...

    def cancel(self, user_id: uuid.UUID, kind: MessageKind) -> None:
        """Forget the messages of a kind that are on their way to a user, or only name the address of that user."""
        ...

    def forget_address(self, canonical_email: str) -> None:
        """Forget the messages on their way that only name an address."""
        ...

    def remove(self, message_id: uuid.UUID) -> None:
        """Forget a message that is not to be sent."""
        ...

    def finish(self, message: Message, *, at: datetime) -> None:
        """Note that an attempt succeeded, and forget what is personal; unless a later attempt has begun."""
        ...

    def postpone(self, message: Message, *, due_at: datetime, error: str) -> None:
        """Note that an attempt failed and when the next one is due; unless a later attempt has begun."""
        ...

    def give_up(self, message: Message, *, at: datetime, error: str) -> None:
        """Note that an attempt failed and that no other follows; unless a later attempt has begun."""
        ...

    def failed(self) -> list[Message]:
        """The messages that were given up, oldest first."""
        ...

    def retry(self, message_id: uuid.UUID | None, *, at: datetime) -> int:
        """Let a message that was given up, or all of them, be tried anew; how many there were."""
        ...

    def of(self, user_id: uuid.UUID) -> list[Message]:
        """The messages of a user, and those on their way that only name the address, oldest first."""
        ...

    def purge(self, *, sent_before: datetime, dead_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` messages that were sent or given up before then; how many there were."""
        ...


def message(
    kind: str,
    *,
    at: datetime,
    origin: Origin,
    user_id: uuid.UUID | None = None,
    canonical_email: str | None = None,
    address: str | None = None,
) -> Message:
    """Make a message that is due at once."""
    return Message(
        id=new_id(at),
        kind=kind,
        user_id=user_id,
        canonical_email=canonical_email,
        address=address,
        languages=origin.languages[:MAX_LANGUAGES],
        facts={"ip": origin.ip, "request_id": origin.request_id},
        seed=os.urandom(SEED_BYTES),
        created_at=at,
        due_at=at,
    )


def retry_delay(attempts: int, *, jitter: float) -> timedelta:
    """How long to wait after the attempt of this number failed: 5 s, doubled each time, an hour at most.

    ``jitter`` from 0 to 1 makes it up to half shorter, so that what failed together is not tried again together.
    """
    doubled: timedelta = FIRST_DELAY * 2 ** min(attempts - 1, 20)
    return min(doubled, LONGEST_DELAY) * (1 - jitter / 2)


class Purpose(StrEnum):
    """What a token lets its bearer do."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a purpose
    EMAIL_VERIFICATION = "email_verification"
    EMAIL_CHANGE = "email_change"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """A token as it is stored. Its id is that of the message that carries it."""

    id: uuid.UUID
    user_id: uuid.UUID
    purpose: Purpose
    digest: bytes = field(repr=False)
    address: str
    """Whom it proves to read mail there; of an e-mail change, the new address. Nothing is kept of it at the end."""
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    """When it was used, or lost its worth to a newer one or to a change of password or address."""


class OneTimeTokens(Protocol):
    """Port: the tokens in links inside one unit of work."""

    def save(self, token: OneTimeToken) -> None:
        """Store a token, or the one of the same message anew."""
        ...

    def latest(self, user_id: uuid.UUID, purpose: Purpose) -> OneTimeToken | None:
        """The token of the newest message, ended or not."""
        ...

    def by_id(self, message_id: uuid.UUID) -> OneTimeToken | None:
        """The token of a message, ended or not."""
        ...

    def find(self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime) -> OneTimeToken | None:
        """The token behind a digest that has neither ended nor expired."""
        ...

    def use(self, token_id: uuid.UUID, *, at: datetime) -> bool:
        """End a token that has neither ended nor expired, in one conditional statement; False where there is none.

        Its address is forgotten.
        """
        ...

    def end_all(self, user_id: uuid.UUID, *, at: datetime, purpose: Purpose | None = None) -> None:
        """End every token of a user, or those of a purpose, and forget their addresses."""
        ...

    def of(self, user_id: uuid.UUID) -> list[OneTimeToken]:
        """The tokens of a user, oldest first."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` tokens that have expired; how many there were.

        But for those of users to whom a message may still be sent, maybe a second time: it would bring back to life
        what was used or replaced.
        """
        ...
