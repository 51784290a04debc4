"""The tokens in links: rebuilt from the message that carries them, stored as a hash, worth one use.

A token is 192 bits of an HMAC over the message's id and random seed. The seed lies in the outbox until the message
is sent, the key with the service: neither of them alone makes a token, and a message that is sent a second time
carries the same one. Behind the prefix stand 32 characters with no spare bits, so that it has one spelling.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from core.outbox import MessageKind

if TYPE_CHECKING:
    from core.store import UnitOfWork

PREFIX = "twm_"
TOKEN_BYTES = 24
DIGEST_BYTES = hashlib.sha256().digest_size
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{{TOKEN_BYTES * 4 // 3}}}")


class Purpose(StrEnum):
    """What a token lets its bearer do."""

    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a purpose
    EMAIL_VERIFICATION = "email_verification"
    EMAIL_CHANGE = "email_change"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailToken:
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


class EmailTokens(Protocol):
    """Port: the tokens in links inside one unit of work."""

    def put(self, token: EmailToken) -> None:
        """Store a token, or the one of the same message anew."""
        ...

    def latest(self, user_id: uuid.UUID, purpose: Purpose) -> EmailToken | None:
        """The token of the newest message, ended or not."""
        ...

    def by_id(self, message_id: uuid.UUID) -> EmailToken | None:
        """The token of a message, ended or not."""
        ...

    def find(self, digest: bytes, purposes: Sequence[Purpose], *, now: datetime) -> EmailToken | None:
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

    def of(self, user_id: uuid.UUID) -> list[EmailToken]:
        """The tokens of a user, oldest first."""
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` tokens that have expired; how many there were.

        But for those of users to whom a message may still be sent, maybe a second time: it would bring back to life
        what was used or replaced.
        """
        ...


class EmailTokenMaker:
    """Makes tokens under the first of its derived keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._key = keys[0]

    def make(self, message_id: uuid.UUID, seed: bytes) -> str:
        """The one token of this message; the same arguments give the same token."""
        mac = hmac.digest(self._key, message_id.bytes + seed, hashlib.sha256)
        return PREFIX + base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode()


def end_links(work: UnitOfWork, user_id: uuid.UUID, *, at: datetime) -> None:
    """Let no link of a user work any more, sent or on its way: the password or the address has changed.

    A reset or a change of address that was asked for and not yet sent would otherwise get its token afterwards. A
    verification may: it proves the mailbox and gives nobody anything else.
    """
    work.email_tokens.end_all(user_id, at=at)
    for kind in (MessageKind.EMAIL_CHANGE, MessageKind.PASSWORD_RESET):
        work.outbox.cancel(user_id, kind)


def digest_of(text: str) -> bytes | None:
    """The digest under which a token is stored, or None where the text cannot be one."""
    return hashlib.sha256(text.encode()).digest() if _FORM.fullmatch(text) else None
