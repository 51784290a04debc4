"""Housekeeping: the next signing key is published in time, and rows that say nothing any more are deleted."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog

from core.background import Background
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.settings.whole import Settings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.key_ring import KeyRing

EVERY = timedelta(minutes=1)
BATCH = 500  # rows; a transaction of some milliseconds, also where SQLite has one writer

log = structlog.get_logger("housekeeping")

Purges = Mapping[str, Callable[[UnitOfWork, datetime, Settings, int], int]]
"""What deletes rows that are over, by the table: from a time, the settings and a limit, how many it deleted."""


class Housekeeper:
    """Does what is due by itself. Every serving process does it; they do not get in each other's way."""

    def __init__(self, *, store: Store, clock: Clock, ring: KeyRing, settings: Settings, purges: Purges) -> None:
        self._store = store
        self._clock = clock
        self._ring = ring
        self._settings = settings
        self._purges = purges
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
        for table in self._purges:
            with _noted(failures):
                total += self._all_of(table)
        if failures:
            raise ExceptionGroup("some of the housekeeping cannot be done", failures)
        return total

    def _rotate_when_due(self) -> None:
        if not self._background.is_stopping:
            self._ring.rotate_when_due()

    def _all_of(self, table: str) -> int:
        total = 0
        while not self._background.is_stopping:
            count = self._batch(table)
            total += count
            if count < BATCH:
                break
        if total:
            log.info("deleted", rows=total, table=table)
        return total

    @retried
    def _batch(self, table: str) -> int:
        with self._store.begin() as work:
            count = self._purges[table](work, self._clock.now(), self._settings, BATCH)
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
