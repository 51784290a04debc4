"""What somebody else is answered in a storm, beside what they are answered without one."""

from __future__ import annotations

import statistics
import time

from tests.support.servers import Server

IDLE_SAMPLES = 500


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]


def in_short(seconds: list[float]) -> str:
    """Median, 99th percentile and maximum in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.1f}/{percentile(seconds, 0.99) * 1000:.1f}/{max(seconds) * 1000:.0f}"


def who_am_i(server: Server, token: str, *, until: float, least: int = 0) -> list[float]:
    """Ask until then, and at least so often: the seconds of each answer."""
    taken: list[float] = []
    while time.monotonic() < until or len(taken) < least:
        started = time.monotonic()
        assert server.api.whoami(token).status == 200
        taken.append(time.monotonic() - started)
    return taken


def assert_as_quick(idle: list[float], busy: list[float]) -> None:
    # Below ten milliseconds, an idle machine's slowest answers say more of its timers than of the service.
    assert percentile(busy, 0.99) < 10 * max(percentile(idle, 0.99), 0.01)
