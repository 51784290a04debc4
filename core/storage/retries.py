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
PAUSE = 0.02  # seconds; the longest wait grows by this with every attempt


def retried(work: Callable[P, R]) -> Callable[P, R]:
    """Run a function that holds one whole unit of work again when the database undid it.

    Only for work whose effects are all inside the transaction. The database has promised that nothing of it was
    kept: a serialisation failure (40001), a deadlock (40P01), or a connection lost before the commit was sent.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, ATTEMPTS):
            try:
                return work(*args, **kwargs)
            except TransactionConflict:
                time.sleep(random.uniform(0, PAUSE * attempt))  # noqa: S311 - spreads the rivals, hides nothing
        return work(*args, **kwargs)

    return run
