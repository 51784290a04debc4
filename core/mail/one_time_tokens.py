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
from datetime import datetime

from core.mail.model import MessageKind
from core.store import UnitOfWork

PREFIX = "twm_"
TOKEN_BYTES = 24
DIGEST_BYTES = hashlib.sha256().digest_size
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{{TOKEN_BYTES * 4 // 3}}}")


class OneTimeTokenMaker:
    """Makes tokens under the first of its derived keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._key = keys[0]

    def make(self, message_id: uuid.UUID, seed: bytes) -> str:
        """The one token of this message; the same arguments give the same token."""
        mac = hmac.digest(self._key, message_id.bytes + seed, hashlib.sha256)
        return PREFIX + base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode()


def revoke_links(work: UnitOfWork, user_id: uuid.UUID, *, at: datetime) -> None:
    """Let no link of a user work any more, sent or on its way: the password or the address has changed.

    A reset or a change of address that was asked for and not yet sent would otherwise get its token afterwards. A
    verification may: it proves the mailbox and gives nobody anything else.
    """
    work.one_time_tokens.end_all(user_id, at=at)
    for kind in (MessageKind.EMAIL_CHANGE, MessageKind.PASSWORD_RESET):
        work.outbox.cancel(user_id, kind)


def digest_of(text: str) -> bytes | None:
    """The digest under which a token is stored, or None where the text cannot be one."""
    return hashlib.sha256(text.encode()).digest() if _FORM.fullmatch(text) else None
