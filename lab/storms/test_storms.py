"""Storms: of logins, each at the price of a real hash, and of callers who are refused; what everybody else gets."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.settings.groups import PasswordSettings, ThrottleSettings
from core.throttling.model import RECORDED_REFUSALS
from lab.storms.measuring import IDLE_SAMPLES, assert_as_quick, in_short, who_am_i
from tests.support.api import OTHER_PASSWORD
from tests.support.live import Figures
from tests.support.servers import AMPLE, HOST, Server, serving

pytestmark = pytest.mark.alone

PARALLEL = 200
SECONDS = 10.0
SECONDS_OF_REFUSALS = 3.0
# Logins that hash or wait for it, where nothing is set. Turns differ, because whoever hashes gives way to all others.
IN_LINE = PasswordSettings().hash_concurrency + PasswordSettings().hash_queue
PATIENCE = 4


Request = Callable[[int], bytes]
Answers = list[tuple[int, bool, float]]
"""Of each: its status, whether it says when to come again, and its seconds."""


def post(path: str, content_type: str, body: str, *fields: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1", "Host: a", "Connection: close", f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}", *fields,
    )  # fmt: skip
    return "\r\n".join((*head, "", body)).encode()


def wrong_login(number: int) -> bytes:
    body = json.dumps({"email": f"nobody{number}@example.com", "password": OTHER_PASSWORD})
    return post("/v1/login", "application/json", body)


def request_for_mail(number: int) -> bytes:
    body = json.dumps({"email": f"nobody{number}@example.com"})
    return post("/v1/send-password-reset", "application/json", body)


def unknown_client(number: int) -> bytes:
    credentials = b64encode(f"twc_{number:032x}:a guess".encode()).decode()
    return post("/v1/introspect", "application/x-www-form-urlencoded", "token=x", f"Authorization: Basic {credentials}")


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
    """As many callers at once as there are, each asking again and again until the time is over."""

    request: Request
    seconds: float
    begins_within: float
    """The seconds in which one caller after the other begins."""
    rest: float
    """The seconds that a caller waits before it asks again, more or less, each its own."""
    rests_after: frozenset[int]
    """The statuses after which it waits."""

    def run(self, port: int) -> Answers:
        return asyncio.run(self._run(port))

    async def _run(self, port: int) -> Answers:
        until = time.monotonic() + self.seconds
        found = await asyncio.gather(*(self._keep_trying(port, number, until) for number in range(PARALLEL)))
        return [answer for answers in found for answer in answers]

    async def _keep_trying(self, port: int, number: int, until: float) -> Answers:
        answers = []
        await asyncio.sleep(self.begins_within * number / PARALLEL)
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


def test_a_storm_of_logins_costs_nobody_else_the_answer(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    # They come again after half of what they were asked to wait.
    storm = Storm(request=wrong_login, seconds=SECONDS, begins_within=0, rest=0.5, rests_after=frozenset({503}))
    with serving(tmp_path, framework, **AMPLE) as (server,):
        measured = measured_in(server, storm, email)
    figures(f"{framework}: {measured}")
    assert measured.statuses.keys() == {401, 503}
    assert all(says_when for status, says_when, _ in measured.answers if status == 503)
    assert measured.slowest[503] < 1
    # Who is let in waits for those before in the line, and for no others, however long a hash takes on a machine.
    assert measured.slowest[401] < PATIENCE * IN_LINE * SECONDS / measured.statuses[401]
    measured.assert_nobody_else_pays()


@pytest.mark.parametrize(
    ("request_of", "free", "refused"),
    [(request_for_mail, ThrottleSettings().throttle_mail, 429), (unknown_client, RECORDED_REFUSALS, 401)],
    ids=["requests for mail", "clients"],
)
@pytest.mark.parametrize("empty_database", ["postgres"], indirect=True)
def test_a_storm_of_those_who_are_refused_costs_nobody_else_the_answer(
    framework: str,
    empty_database: str,
    request_of: Request,
    free: int,
    refused: int,
    email: str,
    tmp_path: Path,
    figures: Figures,
) -> None:
    """All from one address, which has spent what is free: what is left is to refuse them.

    They begin one after the other and ask no more often than one process can answer: what anybody waits for is then
    neither two hundred new connections at one moment nor the processor.
    """
    storm = Storm(
        request=request_of,
        seconds=SECONDS_OF_REFUSALS,
        begins_within=1.0,
        rest=1.0,
        rests_after=frozenset({202, refused}),
    )
    with serving(tmp_path, framework, AUTH_DATABASE_URL=empty_database) as (server,):
        for number in range(free):
            server.raw(request_of(number))
        measured = measured_in(server, storm, email)
    figures(f"{framework}, {request_of.__name__}: {measured}")
    assert measured.statuses[refused] > 0.9 * measured.statuses.total()
    assert measured.statuses.keys() <= {202, refused}
    assert max(measured.slowest.values()) < 1
    measured.assert_nobody_else_pays()
