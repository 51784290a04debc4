"""The hash pool: a few threads that hash, with a bounded queue before them."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

from core.authentication.errors import Overloaded

T = TypeVar("T")

# Other work has priority over hashing: under a storm of logins the 99th percentile of whoami fell from 96 to 12 ms at
# the FastAPI door and from 46 to 14 at the Flask door, on two cores.
NICENESS = 10


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class HashPool:
    """At most ``cores`` hashes run at once and at most ``places`` more wait; further requests are refused.

    A hash takes a quarter of a second of one core and releases the GIL. More hashes at once than cores only make each
    slower, and threads in an unbounded queue would be missing for other requests. The queue is in order of arrival, and
    the hashing threads have a low priority.
    """

    def __init__(self, *, cores: int, places: int) -> None:
        self._places = threading.BoundedSemaphore(cores + places)
        self._workers = ThreadPoolExecutor(cores, "hashing", _lower_priority)
        self._thread = threading.local()

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Reserve a place for all hashes of this thread, before any other work is done for a request.

        Raises:
            Overloaded: the queue is full.

        """
        if getattr(self._thread, "has_place", False):
            yield
            return
        if not self._places.acquire(blocking=False):
            raise Overloaded
        self._thread.has_place = True
        try:
            yield
        finally:
            self._thread.has_place = False
            self._places.release()

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run ``function`` in the pool, and wait for its result.

        Raises:
            Overloaded: the queue is full.

        """
        with self.reserve():
            return self._workers.submit(copy_context().run, function, *arguments).result()
