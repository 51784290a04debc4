"""How many writing units of work one account may have at once in a process.

Connections and SQLite's one writer are shared by all users; an account with a program behind it took all of them.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import AccountBusy

PLACES = 4
WAITING = 12  # a burst, such as sixteen tabs; each occupies a thread meanwhile
WAIT_SHARE = 1 / 4  # of the timeout, of which the rest is left for the work itself


class AccountPlaces:
    """The places of each account, and the units of work that wait for one."""

    def __init__(self, timeout: float) -> None:
        self._wait = timeout * WAIT_SHARE
        self._changed = threading.Condition()
        self._held: Counter[uuid.UUID] = Counter()
        self._waiting: Counter[uuid.UUID] = Counter()

    @contextmanager
    def take(self, account: uuid.UUID | None) -> Iterator[None]:
        """Hold a place of an account; work in nobody's name needs none.

        Raises:
            AccountBusy: too many others hold one or wait for it, or none has become free in time.

        """
        if account is None:
            yield
            return
        with self._changed:
            self._await_place(account)
            self._held[account] += 1
        try:
            yield
        finally:
            with self._changed:
                _count_down(self._held, account)
                self._changed.notify_all()

    def _await_place(self, account: uuid.UUID) -> None:
        if self._held[account] < PLACES:
            return
        if self._waiting[account] >= WAITING:
            raise AccountBusy
        self._waiting[account] += 1
        try:
            if not self._changed.wait_for(lambda: self._held[account] < PLACES, self._wait):
                raise AccountBusy
        finally:
            _count_down(self._waiting, account)


def _count_down(counter: Counter[uuid.UUID], account: uuid.UUID) -> None:
    """Count one less, and keep nothing of an account that has none."""
    counter[account] -= 1
    if not counter[account]:
        del counter[account]
