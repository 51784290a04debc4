"""The tokens in links: derived from their message, stored as a hash, valid once.

A token is 192 bits of an HMAC over the message's id and random seed. The seed is in the outbox until the message is
sent, the key is derived from the service's secret: neither alone makes a token, and a message that is sent a second
time has the same one. After the prefix come 32 characters with no spare bits, so that a token has one spelling.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Sequence
from datetime import datetime

from core.mail.model import MessageKind, OneTimeToken, Purpose
from core.storage.retries import retried
from core.store import Store, UnitOfWork

PREFIX = "twm_"
TOKEN_BYTES = 24
DIGEST_BYTES = hashlib.sha256().digest_size
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{{TOKEN_BYTES * 4 // 3}}}")


class OneTimeTokenMaker:
    """Makes tokens under the first of its derived keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._key = keys[0]

    def make(self, message_id: uuid.UUID, seed: bytes) -> str:
        """Make the token of a message; the same arguments give the same token."""
        mac = hmac.digest(self._key, message_id.bytes + seed, hashlib.sha256)
        return PREFIX + base64.urlsafe_b64encode(mac[:TOKEN_BYTES]).decode()


@retried
def find_link(
    store: Store, token: str, purposes: Sequence[Purpose], *, now: datetime, or_used: bool = False
) -> OneTimeToken | None:
    """Find the stored token of a link without a lock: junk of strangers must not take SQLite's one writer."""
    digest = digest_of(token)
    if digest is None:
        return None
    with store.reading() as read:
        return read.one_time_tokens.find(digest, purposes, now=now, or_used=or_used)


def revoke_links(work: UnitOfWork, user_id: uuid.UUID, *, at: datetime, keep: uuid.UUID | None = None) -> None:
    """Revoke all links of a user except ``keep``, sent or unsent, because the password or the address has changed.

    An unsent reset or change of address is cancelled too; its token would otherwise be made afterwards. An unsent
    verification may stay: it proves the mailbox and allows nothing else.
    """
    work.one_time_tokens.end_all(user_id, at=at, keep=keep)
    for kind in (MessageKind.EMAIL_CHANGE, MessageKind.PASSWORD_RESET):
        work.outbox.cancel(user_id, kind)


def digest_of(text: str) -> bytes | None:
    """Return the digest of a token, or None if the text has not the form of one."""
    return hashlib.sha256(text.encode()).digest() if _FORM.fullmatch(text) else None
