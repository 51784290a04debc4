"""The outbox from outside: messages put into it, and what has become of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select

from core.clock import SystemClock
from core.mail.model import MessageKind, message
from core.mail.sql import outbox
from core.origin import Origin
from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore, open_store
from core.storage.engine import reading
from tests.support.databases import migrated_store
from tests.support.values import account

ORIGIN = Origin(ip="192.0.2.7", request_id="a-request", languages="en")


def queued(url: str, count: int) -> list[str]:
    """Put messages into the outbox, each to an account of its own; every other one carries a token."""
    now = SystemClock().now()
    recipients = [f"user.{number}@example.com" for number in range(count)]
    with migrated_store(url) as store, store.begin() as work:
        for number, recipient in enumerate(recipients):
            user = account(recipient)
            work.users.add(user, canonical_email=recipient)
            if number % 2:
                notice = message(MessageKind.PASSWORD_CHANGED, at=now, origin=ORIGIN, user_id=user.user.id)
            else:
                notice = message(MessageKind.PASSWORD_RESET, at=now, origin=ORIGIN, canonical_email=recipient)
            work.outbox.add(notice)
        work.commit()
    return recipients


@contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    """Open a store that is migrated."""
    store = open_store(url, DatabaseSettings())
    try:
        yield store
    finally:
        store.close()


def states(store: SqlStore) -> Counter[str]:
    """Count the messages that are waiting, sent and given up; asked without the lock of a writer."""
    with reading(store.engine).connect() as connection:
        rows = connection.execute(select(outbox.c.sent_at, outbox.c.dead_at)).all()
    return Counter("sent" if sent else "dead" if dead else "waiting" for sent, dead in rows)


def attempts(store: SqlStore) -> list[int]:
    """Return how often each message was tried."""
    with reading(store.engine).connect() as connection:
        return list(connection.scalars(select(outbox.c.attempts)))
