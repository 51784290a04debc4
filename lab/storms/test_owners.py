"""Owners who log in while a crowd does so without end: the queue of hashes takes turns among address blocks."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from lab.rounds import IS_LONG
from lab.storms.measuring import IDLE_SAMPLES, who_am_i
from lab.storms.storm import Measured, Request, Storm, login, storming
from tests.support.api import OTHER_PASSWORD, PASSWORD
from tests.support.live import Figures
from tests.support.servers import FRAMEWORKS, Server, serving

pytestmark = pytest.mark.alone

CROWD = "crowd@example.com"
OWNERS = 20
AT_ONCE = 4
SECONDS = 18.0
# Callers have the addresses that a proxy would say.
BEHIND_A_PROXY = {"AUTH_TRUSTED_PROXIES": "127.0.0.0/8"}


def own_login(_number: int) -> bytes:
    """All of them log in to one account of their own, from one address."""
    return login(CROWD, PASSWORD, "X-Forwarded-For: 203.0.113.1")


def anonymous_login(number: int) -> bytes:
    """From twenty address blocks, with addresses that nobody has."""
    email = f"nobody{random.getrandbits(64)}@example.com"
    return login(email, OTHER_PASSWORD, f"X-Forwarded-For: 203.0.113.{number % 20 + 1}")


CROWDS = {"one account": (own_login, 12), "twenty blocks": (anonymous_login, 100)}
# The short round plays each crowd at one door, a long one at both.
PLAYED = [
    pytest.param(framework, *CROWDS[crowd], id=f"{framework}-{crowd}")
    for number, framework in enumerate(FRAMEWORKS)
    for crowd in (CROWDS if IS_LONG else list(CROWDS)[number : number + 1])
]
crossed = pytest.mark.parametrize(("framework", "request_of", "callers"), PLAYED, indirect=["framework"])


def address_of(owner: int) -> str:
    return f"198.51.100.{owner}"


def tries_of(server: Server, owner: int) -> int:
    """How many times an owner has to try, who comes again a second after a refusal."""
    for number in range(1, 6):
        answer = server.api.post(
            "/v1/login",
            {"email": f"owner{owner}@example.com", "password": PASSWORD},
            headers=[("X-Forwarded-For", address_of(owner))],
        )
        if answer.status == 200:
            return number
        assert answer.status == 503, answer.body
        time.sleep(1)
    return 6


def sign_up(server: Server, email: str, address: str) -> None:
    body = {"email": email, "password": PASSWORD}
    answer = server.api.post("/v1/signup", body, headers=[("X-Forwarded-For", address)])
    assert answer.status == 201, answer.body


@crossed
def test_get_in_at_once_and_nobody_else_pays(
    framework: str, request_of: Request, callers: int, email: str, tmp_path: Path, figures: Figures
) -> None:
    """At the default settings: of twenty owners at least eighteen at their first try, and all at the second."""
    storm = Storm(
        request=request_of,
        seconds=SECONDS,
        begins_within=0.5,
        rest=0.5,
        rests_after=frozenset({429, 503}),
        callers=callers,
    )
    with serving(tmp_path, framework, **BEHIND_A_PROXY) as (server,):
        sign_up(server, CROWD, address_of(OWNERS))
        for owner in range(OWNERS):
            sign_up(server, f"owner{owner}@example.com", address_of(owner))
        token = server.api.signed_in(email)["access_token"]
        idle = who_am_i(server, token, until=0, least=IDLE_SAMPLES)
        with storming(server, storm) as answers, ThreadPoolExecutor(1) as others:
            ends = time.monotonic() + SECONDS
            busy = others.submit(who_am_i, server, token, until=ends)
            time.sleep(2)  # the crowd is at work
            with ThreadPoolExecutor(AT_ONCE) as owners:
                tries = Counter(owners.map(partial(tries_of, server), range(OWNERS)))
            has_ended = time.monotonic() > ends
            measured = Measured(answers=answers, idle=idle, busy=busy.result(60))
    figures(f"{framework}, {callers} callers: tries of owners {dict(tries)}; {measured}")
    assert not has_ended, "the last owners met no crowd"
    assert tries[1] >= 0.9 * OWNERS
    assert tries[1] + tries[2] == OWNERS
    measured.assert_nobody_else_pays()
