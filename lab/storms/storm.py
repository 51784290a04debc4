"""Storms: many callers at once, each asking again and again, and what everybody else gets meanwhile."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from lab.storms.measuring import IDLE_SAMPLES, assert_as_quick, in_short, who_am_i
from tests.support.servers import HOST, Server

PARALLEL = 200


Request = Callable[[int], bytes]
Answers = list[tuple[int, bool, float]]
"""Of each: its status, whether it says when to come again, and its seconds."""


def post(path: str, content_type: str, body: str, *fields: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1", "Host: a", "Connection: close", f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}", *fields,
    )  # fmt: skip
    return "\r\n".join((*head, "", body)).encode()


def login(email: str, password: str, *fields: str) -> bytes:
    return post("/v1/login", "application/json", json.dumps({"email": email, "password": password}), *fields)


async def ask(port: int, request: bytes) -> tuple[int, bool, float]:
    """One request on a connection of its own."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(request)
        answer = await reader.read()
    finally:
        writer.close()
    head = answer.partition(b"\r\n\r\n")[0].lower()
    return int(answer[9:12]), b"\r\nretry-after: " in head, time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Callers at once, each asking again and again until the time is over."""

    request: Request
    seconds: float
    begins_within: float
    """The seconds in which one caller after the other begins."""
    rest: float
    """The seconds that a caller waits before it asks again, more or less, each its own."""
    rests_after: frozenset[int]
    """The statuses after which it waits."""
    callers: int = PARALLEL

    def run(self, port: int) -> Answers:
        return asyncio.run(self._run(port))

    async def _run(self, port: int) -> Answers:
        until = time.monotonic() + self.seconds
        found = await asyncio.gather(*(self._keep_trying(port, number, until) for number in range(self.callers)))
        return [answer for answers in found for answer in answers]

    async def _keep_trying(self, port: int, number: int, until: float) -> Answers:
        answers = []
        await asyncio.sleep(self.begins_within * number / self.callers)
        while time.monotonic() < until:
            answers.append(await ask(port, self.request(number)))
            if answers[-1][0] in self.rests_after:
                await asyncio.sleep(self.rest * random.uniform(0.5, 1.5))
        return answers


@contextmanager
def storming(server: Server, storm: Storm) -> Iterator[Answers]:
    """A storm in the background; what it was answered is there at the end.

    It is a process of its own. As a thread it kept whoever measures from running, and half of the seconds that were
    seen were the measuring process's own.
    """
    answers: Answers = []
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as background:
        background.submit(int).result(60)  # the process stands
        future = background.submit(storm.run, server.port)
        yield answers
        answers.extend(future.result(60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a storm was answered, and what somebody else was meanwhile."""

    answers: Answers
    idle: list[float]
    busy: list[float]

    @property
    def statuses(self) -> Counter[int]:
        """How often each was answered."""
        return Counter(status for status, _, _ in self.answers)

    @property
    def slowest(self) -> dict[int, float]:
        """The seconds of the slowest answer of each status."""
        return {status: max(taken for found, _, taken in self.answers if found == status) for status in self.statuses}

    def __str__(self) -> str:
        longest = ", ".join(f"{status} {seconds * 1000:.0f} ms" for status, seconds in self.slowest.items())
        return (
            f"{dict(self.statuses)}, the slowest {longest}; whoami median/p99/slowest: idle {in_short(self.idle)} ms, "
            f"in the storm {in_short(self.busy)} ms ({len(self.busy)} answers)"
        )

    def assert_nobody_else_pays(self) -> None:
        assert_as_quick(self.idle, self.busy)
        assert max(self.busy) < 1


def measured_in(server: Server, storm: Storm, email: str) -> Measured:
    """Ask `whoami` before and during a storm."""
    token = server.api.signed_in(email)["access_token"]
    idle = who_am_i(server, token, until=0, least=IDLE_SAMPLES)
    with storming(server, storm) as answers:
        busy = who_am_i(server, token, until=time.monotonic() + storm.seconds)
    assert server.api.whoami(token).status == 200
    return Measured(answers=answers, idle=idle, busy=busy)
