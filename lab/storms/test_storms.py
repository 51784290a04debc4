"""Storms of logins, each at the price of a real hash, and of callers who are refused; what everybody else gets."""

from __future__ import annotations

import json
import statistics
from base64 import b64encode
from pathlib import Path

import pytest

from core.settings.groups import PasswordSettings, ThrottleSettings
from core.throttling.model import RECORDED_REFUSALS
from lab.storms.storm import Request, Storm, login, measured_in, post
from tests.support.api import OTHER_PASSWORD
from tests.support.live import Figures
from tests.support.servers import AMPLE, serving

pytestmark = pytest.mark.alone

SECONDS = 10.0
SECONDS_OF_REFUSALS = 3.0
# A login that was let in waits no longer for its turn; then hashes give way to all others.
HASH_WAIT = PasswordSettings().hash_wait.total_seconds()
PATIENCE = 2.0


def wrong_login(number: int) -> bytes:
    return login(f"nobody{number}@example.com", OTHER_PASSWORD)


def request_for_mail(number: int) -> bytes:
    body = json.dumps({"email": f"nobody{number}@example.com"})
    return post("/v1/send-password-reset", "application/json", body)


def unknown_client(number: int) -> bytes:
    credentials = b64encode(f"twc_{number:032x}:a guess".encode()).decode()
    return post("/v1/introspect", "application/x-www-form-urlencoded", "token=x", f"Authorization: Basic {credentials}")


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
    # What would come too late is refused at once; what was let in is hashed or refused within the wait.
    assert statistics.median(taken for status, _, taken in measured.answers if status == 503) < 1
    assert measured.slowest[503] < HASH_WAIT + 1
    assert measured.slowest[401] < HASH_WAIT + PATIENCE
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
