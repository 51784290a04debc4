"""The throttle over real sockets: both doors and all their workers count together, and a restart forgets nothing."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.api import OTHER_PASSWORD
from tests.support.drivers import Answer
from tests.support.servers import FRAMEWORKS, Server, serving

ALLOWANCE = 5
# What is refused for want of time would prove nothing.
SETTINGS = {"AUTH_PASSWORD_BCRYPT_COST": "4", "AUTH_PASSWORD_HASH_WAIT": "60", "AUTH_DATABASE_TIMEOUT": "20"}


def log_in(server: Server, email: str, password: str = OTHER_PASSWORD) -> Answer:
    return server.api.post("/v1/login", {"email": email, "password": password})


def let_through_in(seconds: float) -> int:
    """How many guesses fit into a time: the allowance, and one more for every pause of 1, 2, 4... s that is over."""
    return ALLOWANCE + int(math.log2(seconds + 1))


def guess_at_once(servers: Sequence[Server], email: str, count: int) -> None:
    """Of so many wrong logins at once the allowance is looked at, and no client is told anything but to wait."""
    start = threading.Barrier(count)

    def guess(number: int) -> Answer:
        start.wait(30)
        return log_in(servers[number % len(servers)], email)

    with ThreadPoolExecutor(count) as pool:
        started = time.monotonic()
        answers = list(pool.map(guess, range(count)))
        taken = time.monotonic() - started
    statuses = Counter(answer.status for answer in answers)
    assert statuses.keys() == {401, 429}
    assert ALLOWANCE <= statuses[401] <= let_through_in(taken)
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.json["code"] for answer in refused} == {"too_many_attempts"}
    assert all(int(answer.header("Retry-After") or "") >= 1 for answer in refused)


def test_doors_and_workers_count_together_and_a_restart_forgets_nothing(
    empty_database: str, email: str, tmp_path: Path
) -> None:
    settings = {"AUTH_DATABASE_URL": empty_database, **SETTINGS}
    with serving(tmp_path, *FRAMEWORKS, options=("--workers", "2"), **settings) as servers:
        servers[0].api.signup(email)
        guess_at_once(servers, email, 100)
        guess_at_once(servers, "nobody@example.com", 40)
        spent = "bob@example.com"
        servers[1].api.signup(spent)
        assert [log_in(server, spent).status for server in servers * 2] == [401] * (ALLOWANCE - 1)
        assert [server.api.get("/healthz").status for server in servers] == [200, 200]
    with serving(tmp_path, "flask", **settings) as servers:
        started = time.monotonic()
        statuses = [log_in(servers[0], spent).status for _ in range(12)]
        taken = time.monotonic() - started
    # One guess was left, and one more for every pause that is over meanwhile.
    assert statuses[0] == 401
    assert statuses.count(401) <= let_through_in(taken) - (ALLOWANCE - 1)
    assert set(statuses) == {401, 429}
