"""Housekeeping: publishing the next signing key in time, and deleting rows that are no longer needed."""

import random
import time
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

# What requests leave behind is erased within a minute, also if the process that was woken for it is killed.
EVERY = timedelta(seconds=40)
BATCH = 500  # rows; a transaction of some milliseconds, so that SQLite's one writer is soon free again

LONGEST_REST = 0.1  # seconds between two batches

log = structlog.get_logger("housekeeping")

Purges = Mapping[str, Callable[[UnitOfWork, datetime, Settings, int], int]]
"""By the table: a function that deletes its old rows, up to a limit, and returns their number."""


class Housekeeper:
    """Runs in every serving process; the processes do not disturb each other."""

    def __init__(self, *, store: Store, clock: Clock, ring: KeyRing, settings: Settings, purges: Purges) -> None:
        self._store = store
        self._clock = clock
        self._ring = ring
        self._settings = settings
        self._purges = purges
        # Jitter, so that the processes do not all run in the same second.
        every = EVERY.total_seconds() * random.uniform(0.8, 1.2)  # noqa: S311 - spreads work, hides nothing
        self._background = Background("housekeeping", self.run_once, every=every)

    def start(self) -> None:
        """Start to run in the background."""
        self._background.start()

    def wake(self) -> None:
        """Run at once: a request has left something behind."""
        self._background.wake()

    def stop(self) -> None:
        """Finish the current key or batch, and stop."""
        self._background.stop()

    def run_once(self) -> int:
        """Publish the next signing key if it is due, delete old rows and their traces, and return the number of rows.

        Raises:
            DatabaseUnavailable: the database is away.
            ExceptionGroup: the parts that failed, after all others were done.

        """
        total = 0
        failures: list[Exception] = []
        with _collected(failures):  # first: after a long downtime, deleting may take hours
            self._rotate_when_due()
        for table in self._purges:
            with _collected(failures):
                total += self._purge_table(table)
        with _collected(failures):
            self._store.erase_deleted()
        if failures:
            raise ExceptionGroup("some of the housekeeping cannot be done", failures)
        return total

    def _rotate_when_due(self) -> None:
        if not self._background.is_stopping:
            self._ring.rotate_when_due()

    def _purge_table(self, table: str) -> int:
        total = 0
        while not self._background.is_stopping:
            started = time.monotonic()
            count = self._purge_batch(table)
            total += count
            if count < BATCH:
                break
            # As long again: the interpreter and SQLite's one writer are others' for at least half of the time.
            self._background.rest(min(time.monotonic() - started, LONGEST_REST))
        if total:
            log.info("deleted", rows=total, table=table)
        return total

    @retried
    def _purge_batch(self, table: str) -> int:
        with self._store.begin() as work:
            count = self._purges[table](work, self._clock.now(), self._settings, BATCH)
            work.commit()
        return count


@contextmanager
def _collected(failures: list[Exception]) -> Iterator[None]:
    """Collect a failure, so that the other parts go on; without a database all of them would fail."""
    try:
        yield
    except DatabaseUnavailable:
        raise
    except Exception as failure:  # noqa: BLE001 - raised after all parts were tried
        failures.append(failure)
