"""What the doors over an SQLite file go through, and what the file keeps: a checked history of many users at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from lab.faults.setup import Setup, set_up
from lab.faults.workload import wait_until
from tests.support.databases import sqlite_url
from tests.support.live import Figures
from tests.support.servers import FRAMEWORKS

STANDS_STILL = 1.0  # seconds; longer than the doors wait for the database


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("setup")
    with sqlite_url(folder) as url, set_up(folder, url) as made:
        yield made


@contextmanager
def _workers_killed(setup: Setup, choose: random.Random) -> Iterator[None]:
    """In the middle of a transaction, a commit or a checkpoint; the others go on with the same file."""
    for _ in range(3):
        for framework in FRAMEWORKS:
            setup.kill_a_worker(framework, choose)
        wait_until(time.monotonic() + choose.uniform(0.1, 0.4))
    yield


@contextmanager
def _everything_killed(setup: Setup, choose: random.Random) -> Iterator[None]:
    """Nobody is left who has the file open, and the next one finds what was not checkpointed."""
    for framework in choose.sample(FRAMEWORKS, len(FRAMEWORKS)):
        setup.kill(framework)
    for framework in FRAMEWORKS:
        setup.open(framework)
    yield


@contextmanager
def _doors_stopped(setup: Setup, choose: random.Random) -> Iterator[None]:
    """Who stands still may hold the one lock that every writer needs."""
    for framework in choose.sample(FRAMEWORKS, len(FRAMEWORKS)):
        with setup.stopped(framework):
            wait_until(time.monotonic() + STANDS_STILL)
    yield


FAULTS: dict[str, Callable[[Setup, random.Random], AbstractContextManager[None]]] = {
    "workers killed": _workers_killed,
    "everything killed": _everything_killed,
    "doors stopped": _doors_stopped,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_acknowledged_is_kept_and_what_was_ended_stays_so(setup: Setup, fault: str, figures: Figures) -> None:
    for line in setup.play(lambda choose: FAULTS[fault](setup, choose)):
        figures(f"sqlite {fault}: {line}")
