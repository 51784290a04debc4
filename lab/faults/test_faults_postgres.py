"""What PostgreSQL and the doors before it go through, and what they keep: a checked history of many users at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url

from lab.faults.postgres import Postgres
from lab.faults.proxy import Proxy, proxying
from lab.faults.setup import Setup, set_up
from lab.faults.workload import wait_until
from lab.rounds import IS_LONG
from tests.support.live import Figures
from tests.support.servers import FRAMEWORKS

LASTS = 1.0  # seconds; longer than the doors wait for the database


@pytest.fixture(scope="module")
def proxy(own: Postgres) -> Iterator[Proxy]:
    with proxying(own.port) as made:
        yield made


@pytest.fixture(scope="module")
def setup(own: Postgres, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with own.database() as url:
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with set_up(tmp_path_factory.mktemp("setup"), url, served_url=through) as made:
            yield made


class Faults:
    """Each goes wrong for a while and is over at its end."""

    def __init__(self, setup: Setup, postgres: Postgres, proxy: Proxy) -> None:
        self._setup = setup
        self._postgres = postgres
        self._proxy = proxy

    @contextmanager
    def killed(self, choose: random.Random) -> Iterator[None]:
        """In the middle of what it does, again and again."""
        for _ in range(3):
            self._postgres.kill()
            self._postgres.heal()
            _last(choose.uniform(0.1, 0.4))
        yield

    @contextmanager
    def restarted(self, choose: random.Random) -> Iterator[None]:
        for _ in range(3):
            self._postgres.shut_down()
            self._postgres.heal()
            _last(choose.uniform(0.1, 0.4))
        yield

    @contextmanager
    def stopped(self, _choose: random.Random) -> Iterator[None]:
        """What it was sent before its callers lost patience, it does when it goes on."""
        self._postgres.stop()
        _last(1.5 * LASTS)
        self._postgres.heal()
        yield

    @contextmanager
    def stopped_for_moments(self, choose: random.Random) -> Iterator[None]:
        """About as long as its callers are patient, so that some get their answer and some just not."""
        for _ in range(2):
            self._postgres.stop()
            _last(choose.uniform(0.5, 0.8))
            self._postgres.heal()
            _last(choose.uniform(0.1, 0.3))
        yield

    @contextmanager
    def swallowed(self, _choose: random.Random) -> Iterator[None]:
        self._proxy.swallow()
        _last(1.5 * LASTS)
        self._proxy.heal()
        yield

    @contextmanager
    def reset(self, choose: random.Random) -> Iterator[None]:
        """Connections break in the middle of anything, on a slow network."""
        self._proxy.delay(0.005)
        for _ in range(4):
            self._proxy.reset()
            _last(choose.uniform(0.1, 0.8))
        self._proxy.heal()
        yield

    @contextmanager
    def commits_in_doubt(self, choose: random.Random) -> Iterator[None]:
        """Every third COMMIT is lost, or its answer, and the connection with it."""
        self._proxy.cut(b"COMMIT\0", 1 / 6, choose)
        _last(2 * LASTS)
        self._proxy.heal()
        yield

    @contextmanager
    def refusing(self, _choose: random.Random) -> Iterator[None]:
        self._proxy.close()
        _last(LASTS)
        self._proxy.heal()
        yield

    @contextmanager
    def full(self, _choose: random.Random) -> Iterator[None]:
        with self._postgres.full():
            _last(LASTS)
        yield

    @contextmanager
    def read_only(self, _choose: random.Random) -> Iterator[None]:
        self._postgres.set_read_only(value=True)
        _last(LASTS)
        self._postgres.set_read_only(value=False)
        yield

    @contextmanager
    def workers_killed(self, choose: random.Random) -> Iterator[None]:
        for _ in range(2):
            for framework in FRAMEWORKS:
                self._setup.kill_a_worker(framework, choose)
            _last(choose.uniform(0.2, 0.4))
        yield

    @contextmanager
    def doors_stopped(self, choose: random.Random) -> Iterator[None]:
        """They hold locks meanwhile, and go on with what nobody waits for any more."""
        for framework in choose.sample(FRAMEWORKS, len(FRAMEWORKS)):
            with self._setup.stopped(framework):
                _last(LASTS)
            _last(choose.uniform(0.1, 0.3))
        yield

    @contextmanager
    def doors_restarted(self, choose: random.Random) -> Iterator[None]:
        """In good order, one after the other, as a deployment does."""
        for framework in choose.sample(FRAMEWORKS, len(FRAMEWORKS)):
            self._setup.end(framework)
            self._setup.open(framework)
            _last(choose.uniform(0.1, 0.3))
        yield

    @contextmanager
    def doors_killed(self, choose: random.Random) -> Iterator[None]:
        for framework in FRAMEWORKS:
            self._setup.kill(framework)
            _last(choose.uniform(0.1, 0.3))
        for framework in FRAMEWORKS:
            self._setup.open(framework)
        yield


FAULTS: list[Callable[..., object]] = [
    Faults.killed,
    Faults.restarted,
    Faults.stopped,
    Faults.stopped_for_moments,
    Faults.swallowed,
    Faults.reset,
    Faults.commits_in_doubt,
    Faults.full,
    Faults.read_only,
    Faults.workers_killed,
    Faults.doors_stopped,
    Faults.doors_restarted,
]
# Slow, and much like another one of the everyday run, or of the file for SQLite.
LONG = [Faults.refusing, Faults.doors_killed]


def _last(seconds: float) -> None:
    wait_until(time.monotonic() + seconds)


@pytest.fixture
def faults(setup: Setup, own: Postgres, proxy: Proxy) -> Iterator[Faults]:
    yield Faults(setup, own, proxy)
    own.heal()
    proxy.heal()


@pytest.mark.parametrize("fault", [fault.__name__ for fault in FAULTS + LONG * IS_LONG])
def test_what_was_acknowledged_is_kept_and_what_was_ended_stays_so(
    setup: Setup, faults: Faults, fault: str, figures: Figures
) -> None:
    for line in setup.play(getattr(faults, fault)):
        figures(f"postgres {fault}: {line}")
