"""Brings links without a relay: what one does up to the letter, from the database itself; no letter leaves.

The messages stay where they are, so that they can be counted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

from pydantic import SecretStr
from sqlalchemy import select

from core.app import build_composer
from core.clock import SystemClock
from core.mail.model import Message, MessageKind, OneTimeToken
from core.mail.sql import outbox
from core.settings.groups import DatabaseSettings, MailSettings
from core.settings.whole import Settings
from core.sql_store import SqlStore, open_store
from core.storage.engine import database_errors, reading
from core.storage.retries import retried

_MESSAGE = [outbox.c[described.name] for described in fields(Message)]


@dataclass(frozen=True)
class Link:
    """A link that resets a password."""

    message: uuid.UUID
    user: uuid.UUID
    token: str = field(repr=False)


class Postman:
    """Knows the doors' secret."""

    def __init__(self, store: SqlStore, secret: str) -> None:
        self._store = store
        self._one_by_one = threading.Lock()
        settings = Settings(secret_key=SecretStr(secret), mail=MailSettings(mail_limit=1000))
        self._composer = build_composer(settings, store=store, clock=SystemClock())

    def bring(self, canonical_email: str) -> Link | None:
        """The link of the newest letter to an address, once; None where there is no letter, or nobody to read it.

        Raises:
            AuthError: the database did not take part; the link may be made all the same.

        """
        with self._one_by_one:
            message = self._newest(canonical_email)
            letter = self._composer.prepare(message) if message else None
            if letter is None or letter.token is None:
                return None
            made = self._made(letter.id)
        return Link(letter.id, made.user_id, letter.token) if made else None

    @retried
    def _made(self, message: uuid.UUID) -> OneTimeToken | None:
        with self._store.reading() as read:
            return read.one_time_tokens.by_id(message)

    @retried
    def _newest(self, canonical_email: str) -> Message | None:
        """A letter that is older than one that was brought stays where it is: its link would be replaced already."""
        to_address = (outbox.c.kind == MessageKind.PASSWORD_RESET.value, outbox.c.canonical_email == canonical_email)
        newest = select(*_MESSAGE, outbox.c.prepared_at).where(*to_address).order_by(outbox.c.id.desc()).limit(1)
        with self._store.reading() as read:
            if read.users.by_email(canonical_email) is None:
                return None
        with database_errors(), reading(self._store.engine).connect() as connection:
            row = connection.execute(newest).mappings().one_or_none()
        if row is None or row["prepared_at"] is not None:
            return None
        return Message(**{**{column.name: row[column] for column in _MESSAGE}, "kind": MessageKind(row["kind"])})


@contextmanager
def postman_of(url: str, secret: str) -> Iterator[Postman]:
    """One with connections of its own."""
    store = open_store(url, DatabaseSettings())
    try:
        yield Postman(store, secret)
    finally:
        store.close()
