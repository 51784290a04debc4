"""Housekeeping: the next signing key is published in time, and rows that say nothing any more are deleted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from core.background import Background
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.settings import Settings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.key_ring import KeyRing

EVERY = timedelta(minutes=1)
BATCH = 500  # rows; a transaction of some milliseconds, also where SQLite has one writer
# For how long what is over is kept: a session for its user to see in an export, a message that was given up for the
# operator to revive it.
SESSION_RETENTION = timedelta(days=7)
DEAD_MESSAGE_RETENTION = timedelta(days=30)

log = structlog.get_logger("housekeeping")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long rows are kept when they are over."""

    messages: timedelta
    audit_events: timedelta
    session_lifetime: timedelta
    """How long a session can live that is made now. After a change, older ones go a little later than they could."""


class Housekeeper:
    """Does what is due by itself. Every serving process does it; they do not get in each other's way."""

    def __init__(self, *, store: Store, clock: Clock, ring: KeyRing, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._ring = ring
        self._retention = Retention(
            messages=settings.mail.mail_retention,
            audit_events=settings.audit.retention,
            session_lifetime=settings.tokens.session_lifetime,
        )
        # Not all processes at the same second.
        every = EVERY.total_seconds() * random.uniform(0.8, 1.2)  # noqa: S311 - spreads work, hides nothing
        self._background = Background("housekeeping", self.run_once, every=every)

    def start(self) -> None:
        """Begin to run in the background."""
        self._background.start()

    def stop(self) -> None:
        """Finish the key that is being made, or the batch that is being deleted."""
        self._background.stop()

    def run_once(self) -> int:
        """Publish the next signing key where it is due, and delete everything that is over; how many rows that were.

        Raises:
            DatabaseUnavailable: the database is away.
            ExceptionGroup: what cannot be done; the rest is.

        """
        total = 0
        failures: list[Exception] = []
        with _noted(failures):  # first: after a long pause there may be hours of deleting
            self._rotate_when_due()
        for kind in _PURGES:
            with _noted(failures):
                total += self._all_of(kind)
        if failures:
            raise ExceptionGroup("some of the housekeeping cannot be done", failures)
        return total

    def _rotate_when_due(self) -> None:
        if not self._background.is_stopping:
            self._ring.rotate_when_due()

    def _all_of(self, kind: str) -> int:
        total = 0
        while not self._background.is_stopping:
            count = self._batch(_PURGES[kind])
            total += count
            if count < BATCH:
                break
        if total:
            log.info("deleted", rows=total, kind=kind)
        return total

    @retried
    def _batch(self, purge: Purge) -> int:
        with self._store.begin() as work:
            count = purge(work, self._clock.now(), self._retention)
            work.commit()
        return count


@contextmanager
def _noted(failures: list[Exception]) -> Iterator[None]:
    """Let the work go on behind a failure, unless all of it would fail alike."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as failure:  # noqa: BLE001 - raised when everything was tried
        failures.append(failure)


Purge = Callable[["UnitOfWork", datetime, Retention], int]

_PURGES: dict[str, Purge] = {
    "sessions": lambda work, now, kept: work.sessions.purge(
        before=now - SESSION_RETENTION, made_before=now - SESSION_RETENTION - kept.session_lifetime, limit=BATCH
    ),
    "messages": lambda work, now, kept: work.outbox.purge(
        sent_before=now - kept.messages, dead_before=now - DEAD_MESSAGE_RETENTION, limit=BATCH
    ),
    "links": lambda work, now, _: work.one_time_tokens.purge(now=now, limit=BATCH),
    "counters": lambda work, now, _: work.counters.purge(now=now, limit=BATCH),
    "revocations": lambda work, now, _: work.revocations.purge(now=now, limit=BATCH),
    "audit events": lambda work, now, kept: work.audit.purge(before=now - kept.audit_events, limit=BATCH),
}
