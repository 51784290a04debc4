"""A storm of logins, each at the price of a real hash, and what everybody else gets meanwhile."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.settings import PasswordSettings
from tests.api import OTHER_PASSWORD
from tests.live.conftest import Figures
from tests.servers import HOST, Server, serving

pytestmark = pytest.mark.alone

PARALLEL = 200
SECONDS = 10.0
IDLE_SAMPLES = 500
# Logins that hash or wait for it, where nothing is set. Turns differ, because whoever hashes gives way to all others.
IN_LINE = PasswordSettings().hash_concurrency + PasswordSettings().hash_queue
PATIENCE = 4


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))]


def in_short(seconds: list[float]) -> str:
    """Median, 99th percentile and maximum in milliseconds."""
    return f"{statistics.median(seconds) * 1000:.1f}/{percentile(seconds, 0.99) * 1000:.1f}/{max(seconds) * 1000:.0f}"


async def log_in(port: int, number: int) -> tuple[int, bool, float]:
    """One wrong login on a connection of its own: status, whether it says when to come again, and its time."""
    body = json.dumps({"email": f"nobody{number}@example.com", "password": OTHER_PASSWORD}).encode()
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(
            b"POST /v1/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        answer = await reader.read()
    finally:
        writer.close()
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(answer[9:12]), b"\r\nretry-after: " in head, time.monotonic() - started


async def storm(port: int) -> list[tuple[int, bool, float]]:
    """As many logins at once as there are, each followed by the next, until the time is over."""
    until = time.monotonic() + SECONDS

    async def keep_trying(number: int) -> list[tuple[int, bool, float]]:
        answers = []
        while time.monotonic() < until:
            answers.append(await log_in(port, number))
            if answers[-1][0] == 503:
                await asyncio.sleep(random.uniform(0.25, 0.75))  # half of what it was asked to wait, each its own
        return answers

    return [answer for answers in await asyncio.gather(*map(keep_trying, range(PARALLEL))) for answer in answers]


def storm_at(port: int) -> list[tuple[int, bool, float]]:
    return asyncio.run(storm(port))


@contextmanager
def stormy(server: Server) -> Iterator[list[tuple[int, bool, float]]]:
    """A storm in the background; what it was answered is there at the end.

    It is a process of its own. As a thread it kept whoever measures from running, and half of the seconds that were
    seen were the measuring process's own.
    """
    answers: list[tuple[int, bool, float]] = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as background:
        background.submit(int).result(60)  # the process stands
        future = background.submit(storm_at, server.port)
        yield answers
        answers.extend(future.result(60))


def who_am_i(server: Server, token: str, *, until: float, least: int = 0) -> list[float]:
    """Ask until then, and at least so often: the seconds of each answer."""
    taken: list[float] = []
    while time.monotonic() < until or len(taken) < least:
        started = time.monotonic()
        assert server.api.whoami(token).status == 200
        taken.append(time.monotonic() - started)
    return taken


def test_a_storm_of_logins_costs_nobody_else_the_answer(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    # What is measured is the line of hashes. Counted, each login that finds it full is two commits of an SQLite file as
    # well, one to count it and one to take that back, and on a busy machine its 503 came after up to four seconds.
    with serving(tmp_path, framework, AUTH_THROTTLE="false") as (server,):
        token = server.api.signed_in(email)["access_token"]
        idle = who_am_i(server, token, until=0, least=IDLE_SAMPLES)
        with stormy(server) as logins:
            busy = who_am_i(server, token, until=time.monotonic() + SECONDS)
        assert server.api.whoami(token).status == 200
    statuses = Counter(status for status, _, _ in logins)
    slowest = {status: max(seconds for found, _, seconds in logins if found == status) for status in statuses}
    longest = ", ".join(f"{status} {seconds * 1000:.0f} ms" for status, seconds in slowest.items())
    figures(
        f"{framework}: {dict(statuses)}, the slowest {longest}; whoami median/p99/slowest: idle {in_short(idle)} ms, "
        f"in the storm {in_short(busy)} ms ({len(busy)} answers)"
    )
    assert statuses.keys() == {401, 503}
    assert all(says_when for status, says_when, _ in logins if status == 503)
    assert slowest[503] < 1
    # Who is let in waits for those before in the line, and for no others, however long a hash takes on a machine.
    assert slowest[401] < PATIENCE * IN_LINE * SECONDS / statuses[401]
    # Below ten milliseconds, an idle machine's slowest answers say more of its timers than of the service.
    assert percentile(busy, 0.99) < 10 * max(percentile(idle, 0.99), 0.01)
    assert max(busy) < 1
