"""Users of whom each lives once, and callers who only want to know whether they are served.

Users that share their accounts make every history hard to read where many outcomes are unknown: what one of them may
have done excuses what is gone. Here nobody touches the account of another, and whoever was left in doubt goes away. So
everything that was acknowledged must be there.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from lab.faults.history import Operation
from lab.faults.workload import Account, Login, Service
from tests.support.api import Api
from tests.support.drivers import Answer, Driver, Headers
from tests.support.servers import Server

WALKERS = 6  # threads; no more than the machine serves in good time
PROBES_APART = 0.2  # seconds
RETRY_AFTER = 1.0  # seconds; half of what the doors ask for


@dataclass
class Answers:
    """What the doors answered, and how late at the most."""

    statuses: Counter[int] = field(default_factory=Counter)
    without_retry_after: int = 0
    slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: int, seconds: float, *, says_when: bool) -> None:
        """Count an answer; a status of 0 is none."""
        with self._lock:
            self.statuses[status] += 1
            self.slowest = max(self.slowest, seconds)
            self.without_retry_after += status == 503 and not says_when


@dataclass(frozen=True)
class CountingDriver:
    """Counts what comes back."""

    driver: Driver
    answers: Answers

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        started = time.monotonic()
        try:
            answer = self.driver.send(method, target, headers, body, chunked=chunked)
        except BaseException:
            self.answers.note(0, time.monotonic() - started, says_when=False)
            raise
        says_when = answer.header("Retry-After") is not None
        self.answers.note(answer.status, time.monotonic() - started, says_when=says_when)
        return answer


def counted(server: Server, answers: Answers) -> Api:
    """A door whose answers are counted."""
    api = server.api
    return replace(api, driver=CountingDriver(api.driver, answers))


class Load:
    """Walkers at every door, and one caller at each who signs somebody up again and again."""

    def __init__(self, service: Service, doors: Mapping[str, Api], seed: int) -> None:
        self._service = service
        self._doors = doors
        self._seed = seed
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self.walked: list[Account] = []
        self.probes: dict[str, list[Operation]] = {door: [] for door in doors}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All at once; whatever one of them meets is raised at the end."""
        with ThreadPoolExecutor(WALKERS + len(self._doors)) as pool:
            working = [pool.submit(self._walk, number) for number in range(WALKERS)]
            working += [pool.submit(self._probe, door) for door in self._doors]
            try:
                yield
            finally:
                self._is_over.set()
        for one in working:
            one.result()

    def is_served_since(self, moment: float) -> bool:
        """Whether every door has acknowledged a write that it was asked for after this moment."""
        return all(
            any(probe.is_ok and probe.invoked > moment for probe in reversed(probes)) for probes in self.probes.values()
        )

    def outages(self) -> dict[str, float]:
        """The longest time without an acknowledged write at each door, in seconds."""
        return {door: _longest_gap([probe for probe in probes if probe.is_ok]) for door, probes in self.probes.items()}

    def ask_for_everybody(self) -> None:
        """Log in to every account with the password that it was told it has."""
        doors = itertools.cycle(self._doors.values())
        for account in self.walked:
            if account.current:
                self._service.login(next(doors), account, account.current)

    def _probe(self, door: str) -> None:
        while not self._is_over.wait(PROBES_APART):
            self.probes[door].append(self._service.signup(self._doors[door], self._newcomer(), self._password()))

    def _walk(self, number: int) -> None:
        choose = random.Random(f"{self._seed}-{number}")
        while not self._is_over.is_set():
            account = self._newcomer()
            with self._lock:
                self.walked.append(account)
            if not self._live(choose, account):
                self._is_over.wait(RETRY_AFTER)

    def _live(self, choose: random.Random, account: Account) -> bool:
        """A life, at whatever door; it ends where an answer was none, and says so."""
        service, login = self._service, None
        if service.signup(self._door(choose), account, self._password()).is_ok:
            login = service.login(self._door(choose), account, account.current)
        return login is not None and all(step.is_ok for step in self._steps(choose, login))

    def _steps(self, choose: random.Random, login: Login) -> Iterator[Operation]:
        service, account = self._service, login.account
        yield service.refresh(self._door(choose), login, 0)
        yield service.refresh(self._door(choose), login, 1)
        if choose.random() < 0.7:
            yield service.change_password(self._door(choose), login, account.current, self._password())
            yield service.refresh(self._door(choose), login, 2)
        if choose.random() < 0.7:
            yield service.logout(self._door(choose), login)

    def _door(self, choose: random.Random) -> Api:
        return choose.choice(list(self._doors.values()))

    def _newcomer(self) -> Account:
        return Account(f"user{next(self._numbers)}.{self._seed}@example.com")

    def _password(self) -> str:
        return f"sentence number {next(self._numbers)} of {self._seed}"


def _longest_gap(served: list[Operation]) -> float:
    return max((later.answered - earlier.answered for earlier, later in itertools.pairwise(served)), default=0.0)
