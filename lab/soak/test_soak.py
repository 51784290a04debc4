"""Mixed load at both doors for long: nothing grows but the number of answers.

Ten minutes in `make lab-soak`; some seconds in the short round, so that it goes on working.
"""

from __future__ import annotations

import random
import secrets
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, create_engine, func, make_url, select, text

from core import housekeeping
from core.sql_store import metadata
from lab.faults.processes import family_of
from lab.rounds import seconds
from lab.soak.processes import NOTHING, Holding, held_by
from lab.soak.time_passes import pass_by, prepare
from tests.support.api import OTHER_PASSWORD, PASSWORD, Api
from tests.support.databases import postgres_url
from tests.support.live import Figures
from tests.support.mail import MailServer
from tests.support.servers import CHEAP, FRAMEWORKS, Server, serving

SECONDS = seconds(12)
IS_TOLD_APART = SECONDS >= 300  # growth from the filling of pools and caches
WARM_UP = SECONDS / 5  # pools fill, caches fill, code is compiled
SAMPLES = 60
VISITORS = 6
# As cheap as a test needs it; what is made of a hash is the same at any price.
SETTINGS = CHEAP | {"AUTH_MAIL_LIMIT": "1000"}
MAY_COME = 2  # threads, connections and what they hold; pools lend one more or less
MAY_GROW = 1.05  # from the first part to the last; memory is measured to a few percent
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
GROWING = ("sessions", "audit_events", "outbox", "email_tokens", "throttle_counters", "revocations", "users")


class Visitor:
    """Comes, stays a while, and leaves nothing behind."""

    def __init__(self, doors: list[Api], seed: int) -> None:
        self._doors = doors
        self._choose = random.Random(seed)
        self.statuses: Counter[int] = Counter()

    def live(self) -> None:
        """One whole life, at both doors; what is refused is part of it."""
        email = f"{secrets.token_hex(8)}@example.com"
        self._ask(201, lambda api: api.post("/v1/signup", {"email": email, "password": PASSWORD}))
        pairs = [self._door.login(email) for _ in range(3)]
        token, refresh = pairs[0]["access_token"], pairs[0]["refresh_token"]
        for _ in range(6):
            self._ask(200, lambda api: api.whoami(token))
        for _ in range(3):
            answer = self._door.refresh(refresh)
            token, refresh = answer.json["access_token"], answer.json["refresh_token"]
        self._ask(401, lambda api: api.post("/v1/login", {"email": email, "password": OTHER_PASSWORD}))
        self._ask(422, lambda api: api.post("/v1/signup", {"email": "none", "password": "short"}))
        self._ask(404, lambda api: api.get(f"/{secrets.token_hex(4)}"))
        self._ask(200, lambda api: api.get("/v1/sessions", token=token))
        self._ask(200, lambda api: api.get("/v1/account/export", token=token))
        self._ask(202, lambda api: api.ask_for_reset(email))
        self._ask(204, lambda api: api.post("/v1/logout", token=pairs[1]["access_token"]))
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        self._ask(204, lambda api: api.post("/v1/account/password", body, token=token))
        self._ask(204, lambda api: api.post("/v1/account/delete", {"current_password": OTHER_PASSWORD}, token=token))

    @property
    def _door(self) -> Api:
        return self._choose.choice(self._doors)

    def _ask(self, expected: int, ask: Callable[[Api], object]) -> None:
        status = ask(self._door).status  # type: ignore[attr-defined]  # an Answer, of whatever is asked
        self.statuses[status] += 1
        assert status == expected


@dataclass(frozen=True)
class Sample:
    """How much there is at a moment."""

    at: float
    doors: dict[str, Holding]
    connections: int
    rows: dict[str, int]


@dataclass
class Soak:
    """Samples, and what can be said of them."""

    servers: tuple[Server, ...]
    engine: Engine
    samples: list[Sample] = field(default_factory=list)

    def take(self) -> None:
        doors = {server.framework: held_by(family_of(server.process.popen.pid)) for server in self.servers}
        with self.engine.connect() as connection:
            connections = connection.scalar(text(_CONNECTIONS))
            rows = {
                name: connection.scalar(select(func.count()).select_from(metadata.tables[name])) or 0
                for name in GROWING
            }
        self.samples.append(Sample(time.monotonic(), doors, int(connections or 0), rows))

    def growth(self, measure: Callable[[Sample], float]) -> float:
        """How many times larger the last third is than the first one, behind the warm-up."""
        first, last = self._thirds(measure)
        return last / max(1.0, first)

    def more(self, measure: Callable[[Sample], float]) -> float:
        """How many more there are in the last third than in the first one, behind the warm-up."""
        first, last = self._thirds(measure)
        return last - first

    def _thirds(self, measure: Callable[[Sample], float]) -> tuple[float, float]:
        found = [measure(sample) for sample in self.samples if sample.at > self.samples[0].at + WARM_UP]
        third = max(1, len(found) // 3)
        return statistics.median(found[:third]), statistics.median(found[-third:])

    def __str__(self) -> str:
        first = next(sample for sample in self.samples if sample.at >= self.samples[0].at + WARM_UP)
        last, lines = self.samples[-1], []
        for name, holding in last.doors.items():
            before = first.doors[name]
            lines.append(
                f"{name}: descriptors {before.descriptors} -> {holding.descriptors}, threads {before.threads} -> "
                f"{holding.threads}, memory {before.memory:.1f} -> {holding.memory:.1f} MiB "
                f"({self.growth(lambda sample, name=name: sample.doors[name].memory):.3f})"  # type: ignore[misc]  # a default binds it
            )
        rows = ", ".join(f"{name} {first.rows[name]} -> {count}" for name, count in last.rows.items())
        return "\n".join([*lines, f"connections {first.connections} -> {last.connections}", f"rows: {rows}"])


@contextmanager
def visited(doors: list[Api]) -> Iterator[list[Visitor]]:
    """Visitors who come and go, until the end; whatever one of them meets is raised there."""
    visitors, is_over = [Visitor(doors, seed) for seed in range(VISITORS)], threading.Event()

    def come_and_go(visitor: Visitor) -> None:
        while not is_over.is_set():
            visitor.live()

    with ThreadPoolExecutor(VISITORS) as pool:
        coming = [pool.submit(come_and_go, visitor) for visitor in visitors]
        try:
            yield visitors
        finally:
            is_over.set()
    for done in coming:
        done.result()


def test_nothing_grows(postgres: str, tmp_path: Path, figures: Figures) -> None:
    with postgres_url(postgres) as url, MailServer() as mail:
        settings = SETTINGS | {"AUTH_DATABASE_URL": url, "AUTH_SMTP_URL": mail.url}
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_size=1)
        with serving(tmp_path, *FRAMEWORKS, **settings) as servers, visited([found.api for found in servers]) as them:
            prepare(engine)
            soak = Soak(servers, engine)
            end, aged = time.monotonic() + SECONDS, 0
            while time.monotonic() < end:
                soak.take()
                aged += pass_by(engine)
                time.sleep(SECONDS / SAMPLES)
            soak.take()
        engine.dispose()
    statuses = sum((visitor.statuses for visitor in them), Counter[int]())
    figures(f"{SECONDS:.0f} s, {sum(statuses.values())} answers {dict(statuses)}, {aged} rows became old\n{soak}")
    assert statuses.keys() == {200, 201, 202, 204, 401, 404, 422}
    for table in GROWING:  # of one that nobody writes, it says nothing that it does not grow
        assert max(sample.rows[table] for sample in soak.samples) > 0, f"{table} was always empty\n{soak}"
    for server in servers:
        (first, *_, last) = (sample.doors[server.framework] for sample in soak.samples)
        assert NOTHING not in (first, last)
    if IS_TOLD_APART:
        assert_flat(soak)


def assert_flat(soak: Soak) -> None:
    """What there is at the end was there soon after the beginning."""
    for name in FRAMEWORKS:
        memory = soak.growth(lambda sample, name=name: sample.doors[name].memory)  # type: ignore[misc]  # a default binds it
        assert memory < MAY_GROW, f"{name}: memory x {memory:.3f}\n{soak}"
        for what in ("descriptors", "threads"):
            more = soak.more(lambda sample, name=name, what=what: getattr(sample.doors[name], what))  # type: ignore[misc]  # defaults bind them
            assert more <= MAY_COME, f"{name}: {more} more {what}\n{soak}"
    assert soak.more(lambda sample: sample.connections) <= MAY_COME
    for table in GROWING:
        growth = soak.growth(lambda sample, table=table: sample.rows[table])  # type: ignore[misc]  # a default binds it
        assert growth < 2, f"{table} x {growth:.2f}: the housekeeping does not keep up\n{soak}"


def test_the_housekeeping_comes_round_within_the_soak() -> None:
    """Or the tables would be flat for another reason."""
    assert housekeeping.EVERY.total_seconds() * 1.2 < 120
