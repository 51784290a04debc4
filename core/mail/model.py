"""Messages to send, their one-time tokens, and the time of the next attempt to send one."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from core.clock import CLOCK_SKEW, new_id
from core.origin import Origin

SEED_BYTES = 16
MAX_LANGUAGES = 100  # stored characters of an Accept-Language header
MAX_ERROR = 200
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(hours=1)
FURTHEST_DUE = LONGEST_DELAY + CLOCK_SKEW
"""A message that is due later was stored, taken or postponed by a clock that was wrong, and is due now."""


class MessageKind(StrEnum):
    """What a message is about."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a message
    EMAIL_VERIFICATION = "email_verification"
    EMAIL_CHANGE = "email_change"
    """To the new address, with the link that confirms it."""
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    """To the old address, with the link that undoes the change."""
    EMAIL_CORRECTED = "email_corrected"
    """To the old address if it was never verified: it may be a stranger's, who must not get the account."""
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    """To the address that an account had until its change was undone."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a message
    SESSION_ENDED = "session_ended"
    """A used refresh token came back."""
    SIGNUP_ATTEMPTED = "signup_attempted"
    """Somebody tried to sign up with an address that has an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to send.

    It names its recipient, not its content: that is composed when it is sent. So a request for an unknown address
    takes exactly as long as one for a known address, and no token is stored in a form that can be presented.
    """

    id: uuid.UUID
    kind: str
    """A `MessageKind`, or one of a capability outside the core."""
    user_id: uuid.UUID | None
    canonical_email: str | None
    """The address in the request, if the request only named an address and no user."""
    address: str | None
    """The recipient, if it is not the address of the account at the time of sending."""
    languages: str
    """The Accept-Language header of the request."""
    facts: Mapping[str, str]
    seed: bytes = field(repr=False)
    created_at: datetime
    due_at: datetime | None
    """The time of the next attempt; None if it was sent or given up."""
    attempts: int = 0
    prepared_at: datetime | None = None
    """The time when the composer first allowed it to be sent."""
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
        """Take the message that has been due for longest. It is due again after the lease, unless it is concluded.

        Messages that another process is claiming at this moment are skipped.
        """
        ...

    def prepare(self, message_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime) -> bool:
        """Record the user of a message and the time when it was first allowed to be sent.

        False if it was cancelled since it was claimed.
        """
        ...

    def prepared_since(
        self, user_id: uuid.UUID, kind: str, *, since: datetime, until: datetime, excluding: uuid.UUID
    ) -> int:
        """Count the messages of a kind that were prepared for a user between two times, except one."""
        ...

    def cancel(self, user_id: uuid.UUID, kind: MessageKind, *, after: uuid.UUID | None = None) -> None:
        """Delete the unsent messages of a kind to a user, also those that only name the user's address.

        With ``after``, only those after this message.
        """
        ...

    def forget_address(self, canonical_email: str) -> None:
        """Delete the unsent messages that only name an address."""
        ...

    def remove(self, message_id: uuid.UUID) -> None:
        """Delete a message that is not to be sent."""
        ...

    def finish(self, message: Message, *, at: datetime) -> None:
        """Record a success and erase personal data, unless a later attempt has begun."""
        ...

    def postpone(self, message: Message, *, due_at: datetime, error: str) -> None:
        """Record a failure and the time of the next attempt, unless a later attempt has begun."""
        ...

    def give_up(self, message: Message, *, at: datetime, error: str) -> None:
        """Record a failure without a further attempt, unless a later attempt has begun."""
        ...

    def failed(self) -> list[Message]:
        """Return the messages that were given up, oldest first."""
        ...

    def retry(self, message_id: uuid.UUID | None, *, at: datetime) -> int:
        """Make a message that was given up, or all of them, due again; return their number."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Message]:
        """Return the messages of a user, also unsent ones that only name the address, by their ids: those after one."""
        ...

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        """Delete up to ``limit`` messages of a user; return their number."""
        ...

    def purge(self, *, sent_before: datetime, dead_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` messages that were sent or given up before a time; return their number."""
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
    """Return the wait after the attempt of this number failed: 5 s, doubled each time, an hour at most.

    ``jitter`` from 0 to 1 makes it up to half shorter, so that messages that failed together are retried apart.
    """
    doubled: timedelta = FIRST_DELAY * 2 ** min(attempts - 1, 20)
    return min(doubled, LONGEST_DELAY) * (1 - jitter / 2)


class Purpose(StrEnum):
    """The operation that a token allows."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a purpose
    EMAIL_VERIFICATION = "email_verification"
    EMAIL_CHANGE = "email_change"
    EMAIL_CHANGE_UNDO = "email_change_undo"


REVOCABLE = tuple(purpose for purpose in Purpose if purpose is not Purpose.EMAIL_CHANGE_UNDO)
"""What ends with a change of password or address. An undo does not: whoever took an account over can change both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeToken:
    """A token as it is stored, with the id of its message."""

    id: uuid.UUID
    user_id: uuid.UUID
    purpose: Purpose
    digest: bytes = field(repr=False)
    address: str
    """The address the link was sent to; emptied when the token ends."""
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    """The time when it was used, replaced by a newer one, or revoked by a change of password or address."""
    used_at: datetime | None = None
    """The time when it was used, if it was not replaced or revoked after that: a reader may follow it again."""


class OneTimeTokens(Protocol):
    """Port: the tokens in links inside one unit of work."""

    def save(self, token: OneTimeToken) -> None:
        """Store a token; it replaces an earlier one of the same message."""
        ...

    def latest(self, user_id: uuid.UUID, purpose: Purpose, *, until: datetime) -> OneTimeToken | None:
        """Return the token of the newest message, ended or not, among those that were made until a time."""
        ...

    def by_id(self, message_id: uuid.UUID) -> OneTimeToken | None:
        """Return the token of a message, ended or not."""
        ...

    def find(
        self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime, or_used: bool = False
    ) -> OneTimeToken | None:
        """Return the token with this digest if it has neither ended nor expired; ``or_used``, also a used one."""
        ...

    def use(self, token_id: uuid.UUID, *, at: datetime) -> bool:
        """End a token that has neither ended nor expired, in one conditional statement, and erase its address.

        False if there is none.
        """
        ...

    def end_all(
        self,
        user_id: uuid.UUID,
        *,
        at: datetime,
        purposes: Collection[Purpose] = REVOCABLE,
        keep: uuid.UUID | None = None,
        after: uuid.UUID | None = None,
    ) -> None:
        """End the tokens of a user for these purposes, except ``keep``, and erase their addresses.

        With ``after``, only those of later messages. Used ones are no longer found either.
        """
        ...

    def end_some(self, *, at: datetime, limit: int) -> int:
        """End up to ``limit`` tokens of any users that work, and erase their addresses; return their number."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[OneTimeToken]:
        """Return the tokens of a user, by their ids: those after one."""
        ...

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        """Delete up to ``limit`` tokens of a user; return their number."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired tokens; return their number.

        Tokens of users with unsent messages are kept: a message that is sent again would store its token again, though
        it was used or replaced.
        """
        ...
