"""Both front doors as real processes over one real database: together, under load, and at their end."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.support.live import Pair
from tests.support.servers import CHEAP, FRAMEWORKS, START_SECONDS, Server, environment, eventually, serving

DIRECTIONS = pytest.mark.parametrize(("here", "there"), [FRAMEWORKS, FRAMEWORKS[::-1]])


def test_sign_up_log_in_and_ask_who_i_am(server: Server, email: str) -> None:
    user = server.api.signup(email)
    assert server.api.whoami(server.api.login(email)["access_token"]).json == user


@DIRECTIONS
def test_token_of_one_door_speaks_for_the_same_user_at_the_other(pair: Pair, email: str, here: str, there: str) -> None:
    user = pair[here].api.signup(email)
    answer = pair[there].api.whoami(pair[here].api.login(email)["access_token"])
    assert (answer.status, answer.json) == (200, user)


@DIRECTIONS
def test_session_of_one_door_is_refreshed_at_the_other(pair: Pair, email: str, here: str, there: str) -> None:
    refreshed = pair[there].api.refresh(pair[here].api.signed_in(email)["refresh_token"])
    assert refreshed.status == 200
    assert pair[here].api.whoami(refreshed.json["access_token"]).status == 200


@DIRECTIONS
def test_session_of_one_door_that_ends_at_the_other_is_dead_at_both(
    pair: Pair, email: str, here: str, there: str
) -> None:
    tokens = pair[here].api.signed_in(email)
    assert pair[there].api.post("/v1/logout", token=tokens["access_token"]).status == 204
    for name in FRAMEWORKS:
        assert pair[name].api.whoami(tokens["access_token"]).status == 401
        assert pair[name].api.refresh(tokens["refresh_token"]).status == 401


def has_workers(server: Server, count: int) -> bool:
    """Whether so many processes have opened the database, beside the one that waits for them."""
    return len(re.findall(r"Application startup complete|Booting worker", server.process.printed())) == count


def test_workers_that_start_together_on_an_empty_database_share_one_key(tmp_path: Path) -> None:
    """Of the processes that find no key, one makes it, and all sign with it."""
    settings = {"AUTH_LOG_FORMAT": "json"}  # in which the servers speak
    with serving(tmp_path, *FRAMEWORKS, options=["--workers", "2"], **settings) as servers:
        for server in servers:
            assert eventually(partial(has_workers, server, 2), START_SECONDS)
            with ThreadPoolExecutor(8) as many:
                answers = list(many.map(lambda _, api=server.api: api.get("/.well-known/jwks.json"), range(100)))
            assert {answer.status for answer in answers} == {200}
            assert {len(answer.json["keys"]) for answer in answers} == {1}
            assert len({answer.body for answer in answers}) == 1
        first, second = (server.api.get("/.well-known/jwks.json").body for server in servers)
        assert first == second


def test_any_wsgi_server_closes_the_service_when_its_process_ends(tmp_path: Path) -> None:
    """One that knows nothing of it, and only builds the application."""
    lines = (
        "import atexit",
        "atexit.register(lambda: print(auth.stopping.is_set()))",
        "from api_flask.wsgi import application",
        "auth = application().extensions['twinauth']",
        "print(auth.stopping.is_set())",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment(tmp_path, **CHEAP),
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, "False\nTrue\n"), done.stderr
