"""How long a proof takes: a short round (`make proofs`), or the minutes of AUTH_TEST_LAB_MINUTES (`make lab-…`).

The minutes are those of each search, each fault and each soak, and not of all of them together.
"""

from __future__ import annotations

import os

MINUTES = float(os.environ.get("AUTH_TEST_LAB_MINUTES", "0"))
IS_LONG = MINUTES > 0


def seconds(short: float) -> float:
    """Return the seconds that something goes on: these, or the minutes that were asked for."""
    return MINUTES * 60 if IS_LONG else short


def times(short: int, *, a_minute: int) -> int:
    """Return how often something is tried: so often, or as often as fits into the minutes (measured on two cores)."""
    return round(MINUTES * a_minute) if IS_LONG else short
