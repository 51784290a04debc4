"""The hash pool: a few threads that hash, with a fair queue before them that is bounded by time."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from core.authentication.errors import Overloaded
from core.authentication.passwords.fair_queue import FairQueue, Requester

T = TypeVar("T")

# Other work has priority over hashing: under a storm of logins the 99th percentile of whoami fell from 96 to 12 ms at
# the FastAPI door and from 46 to 14 at the Flask door, on two cores.
NICENESS = 10
FIRST_GUESS = 0.25
"""Seconds of a hash before one was measured: bcrypt of cost 12 takes as long."""
WEIGHT = 0.2
"""Of the newest measured hash in the moving average."""

NOBODY = Requester(block="", account="")
"""Asks for what no request has asked for."""


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Place:
    """The place of one request, from before its first hash until after its last."""

    def __init__(self, requester: Requester, deadline: float) -> None:
        self.requester = requester
        self.deadline = deadline
        self.is_waiting = False
        """Whether its thread waits for a turn; before and after, other work is done for the request."""
        self.is_queued = True
        """Until its first turn, or until it is refused."""
        self.turn = threading.Event()
        self.is_refused = False


class HashPool:
    """At most ``cores`` hashes run at once; a request waits for its turn up to ``wait`` seconds, or is refused.

    A hash takes a quarter of a second of one core and releases the GIL. More hashes at once than cores only make each
    slower. A request is refused at once if its turn would come too late as things stand, and later if others have come
    before it. Each holds a thread, so there are at most ``places``: where all are taken, the youngest request of the
    largest address block gives its own to a smaller one. The hashing threads have a low priority.
    """

    def __init__(self, *, cores: int, places: int, wait: float) -> None:
        self._cores = cores
        self._places = places
        self._wait = wait
        self._workers = ThreadPoolExecutor(cores, "hashing", _lower_priority)
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._queue: FairQueue[Place] = FairQueue()
        self._continuing: deque[Place] = deque()
        """Requests that had a turn already: what was begun is finished first."""
        self._held = 0
        self._running = 0
        self._seconds = FIRST_GUESS

    @contextmanager
    def reserve(self, requester: Requester) -> Iterator[None]:
        """Take a place for all hashes of this thread, before it writes anything for a request.

        Raises:
            Overloaded: the turn would come too late.

        """
        if getattr(self._thread, "place", None) is not None:
            yield
            return
        place = self._take_place(requester)
        self._thread.place = place
        try:
            yield
        finally:
            self._thread.place = None
            self._leave(place)

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run ``function`` in the pool when it is its turn, and wait for its result.

        Raises:
            Overloaded: the turn did not come in time.

        """
        with self.reserve(NOBODY):
            self._await_turn(self._thread.place)
            started = time.monotonic()
            try:
                return self._workers.submit(copy_context().run, function, *arguments).result()
            finally:
                self._end_turn(time.monotonic() - started)

    def require_room(self, requester: Requester) -> None:
        """Refuse a request for which there would be no place now, before anything is done for it.

        Raises:
            Overloaded: the turn would come too late.

        """
        with self._lock:
            self._require_room(requester)

    def _require_room(self, requester: Requester) -> None:
        if self._seconds_before(requester) > self._wait or (self._is_full and not self._has_larger_block(requester)):
            raise Overloaded

    def _take_place(self, requester: Requester) -> Place:
        with self._lock:
            self._require_room(requester)
            if self._is_full:
                self._refuse_youngest_of_largest()
            place = Place(requester, time.monotonic() + self._wait)
            self._held += 1
            self._queue.add(requester, place)
            return place

    def _seconds_before(self, requester: Requester) -> float:
        """Return how long a new request would wait, by what hashes took lately."""
        before = self._running + len(self._continuing) + self._queue.turns_before(requester)
        return max(before - self._cores + 1, 0) * self._seconds / self._cores

    @property
    def _is_full(self) -> bool:
        return self._held >= self._places + self._cores

    def _has_larger_block(self, requester: Requester) -> bool:
        """Whether a block would be larger than the requester's is then."""
        return self._queue.largest()[1] > self._queue.size_of(requester.block) + 1

    def _refuse_youngest_of_largest(self) -> None:
        block, _ = self._queue.largest()
        self._refuse(max(self._queue.items_of(block), key=lambda place: place.deadline))

    def _refuse(self, place: Place) -> None:
        place.is_refused = True
        self._give_back(place)
        place.turn.set()

    def _leave(self, place: Place) -> None:
        with self._lock:
            if not place.is_refused:
                self._give_back(place)

    def _give_back(self, place: Place) -> None:
        self._held -= 1
        if place.is_queued:
            place.is_queued = False
            self._queue.remove(place.requester, place)

    def _await_turn(self, place: Place) -> None:
        with self._lock:
            if place.is_refused:
                raise Overloaded
            place.turn.clear()
            place.is_waiting = True
            seconds = place.deadline - time.monotonic() if place.is_queued else None
            if not place.is_queued:
                self._continuing.append(place)
            self._give_turns()
        if not place.turn.wait(seconds):
            self._refuse_late(place)
        place.is_waiting = False
        if place.is_refused:
            raise Overloaded

    def _refuse_late(self, place: Place) -> None:
        with self._lock:
            if not place.turn.is_set():
                self._refuse(place)

    def _give_turns(self) -> None:
        while self._running < self._cores and (place := self._next()) is not None:
            self._running += 1
            place.is_queued = False
            place.turn.set()

    def _next(self) -> Place | None:
        if self._continuing:
            return self._continuing.popleft()
        return self._queue.pop(lambda place: place.is_waiting)

    def _end_turn(self, seconds: float) -> None:
        with self._lock:
            self._running -= 1
            self._seconds += WEIGHT * (seconds - self._seconds)
            self._give_turns()
