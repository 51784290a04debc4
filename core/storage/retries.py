"""The rule for running a unit of work again."""

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from core.errors import TransactionConflict

P = ParamSpec("P")
R = TypeVar("R")

ATTEMPTS = 4
WAIT_SECONDS = 0.02  # the longest wait grows by this with every attempt


def retried(work: Callable[P, R]) -> Callable[P, R]:
    """Run a function with one whole unit of work again if the database rolled it back.

    Only for work whose effects are all inside the transaction. It has certainly not been committed: a serialisation
    failure (40001), a deadlock (40P01), or a connection lost before the commit was sent.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, ATTEMPTS):
            try:
                return work(*args, **kwargs)
            except TransactionConflict:
                time.sleep(random.uniform(0, WAIT_SECONDS * attempt))  # noqa: S311 - spreads rivals, no secret
        return work(*args, **kwargs)

    return run
