"""Whatever way the database is away: callers are told in time, the process lives, and all is well when it is back."""

from __future__ import annotations

import resource
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from core.sql_store import metadata
from core.storage.deadlines import OPEN_SECONDS
from core.storage.probe import SHARE
from lab.faults.postgres import Postgres
from lab.faults.processes import family_of
from lab.faults.proxy import Proxy, proxying
from tests.support.api import PASSWORD
from tests.support.drivers import Answer
from tests.support.live import Figures
from tests.support.servers import CHEAP, FRAMEWORKS, Server, eventually, serving

pytestmark = pytest.mark.alone

TIMEOUT = 2.0  # AUTH_DATABASE_TIMEOUT, as it is where nobody sets it
MARGIN = 0.7  # for everything that is no waiting for the database, on a machine that does other things
ALIVE = 1.0  # after which the usual liveness probe takes a process for dead
HEALING = 5.0
AT_ONCE = 60

Call = Callable[[], Answer]


@dataclass(frozen=True)
class Place:
    """Both doors before a database, and what may be done to it."""

    doors: dict[str, Server]
    postgres: Postgres
    url: str
    """Of the database itself."""
    proxy: Proxy | None = None


@contextmanager
def _served(folder: Path, postgres: Postgres, url: str, proxy: Proxy | None = None) -> Iterator[Place]:
    with serving(folder, *FRAMEWORKS, AUTH_DATABASE_URL=url, AUTH_RELAY="false", **CHEAP) as servers:
        yield Place(dict(zip(FRAMEWORKS, servers, strict=True)), postgres, url, proxy)
        for server in servers:
            server.process.popen.kill()  # how they end is tested elsewhere, and takes its time


@pytest.fixture(scope="module")
def near(own: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Doors that reach the server itself."""
    with own.database() as url, _served(tmp_path_factory.mktemp("near"), own, url) as place:
        yield place


@pytest.fixture(scope="module")
def far(own: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Doors that reach it over a network that may fail."""
    with own.database() as url, proxying(own.port) as proxy:
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with _served(tmp_path_factory.mktemp("far"), own, through, proxy) as place:
            yield place


# The ways


@contextmanager
def _killed(place: Place) -> Iterator[None]:
    place.postgres.kill()
    try:
        yield
    finally:
        place.postgres.heal()


@contextmanager
def _stopped(place: Place) -> Iterator[None]:
    place.postgres.stop()
    try:
        yield
    finally:
        place.postgres.heal()


@contextmanager
def _full(place: Place) -> Iterator[None]:
    with place.postgres.full():
        yield


@contextmanager
def _swallowed(place: Place) -> Iterator[None]:
    assert place.proxy is not None
    place.proxy.swallow()
    try:
        yield
    finally:
        place.proxy.heal()


@contextmanager
def _refusing(place: Place) -> Iterator[None]:
    assert place.proxy is not None
    place.proxy.close()
    try:
        yield
    finally:
        place.proxy.heal()


WAYS = {"killed": _killed, "stopped": _stopped, "full": _full, "swallowed": _swallowed, "refusing": _refusing}
OVER_THE_NETWORK = ("swallowed", "refusing")


# What is asked


@dataclass
class Seen:
    """Answers and the seconds they took."""

    answers: list[Answer] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def ask(self, call: Call) -> None:
        started = time.monotonic()
        answer = call()
        self.seconds.append(time.monotonic() - started)
        self.answers.append(answer)

    @property
    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}

    @property
    def slowest(self) -> float:
        return max(self.seconds)

    def slow(self, bound: float) -> int:
        """How many took longer."""
        return sum(seconds > bound for seconds in self.seconds)


@dataclass
class Storm:
    """Many requests at once, and the health checks meanwhile."""

    requests: Seen = field(default_factory=Seen)
    health: Seen = field(default_factory=Seen)
    readiness: Seen = field(default_factory=Seen)

    def rage(self, server: Server, calls: list[Call]) -> None:
        is_over = threading.Event()

        def watch(seen: Seen, path: str) -> None:
            seen.ask(lambda: server.api.get(path))
            while not is_over.wait(0.02):
                seen.ask(lambda: server.api.get(path))

        with ThreadPoolExecutor(len(calls) + 2) as many:
            asked = [many.submit(self.requests.ask, call) for call in calls]
            watching = [
                many.submit(watch, self.health, "/healthz"),
                many.submit(watch, self.readiness, "/readyz"),
            ]
            try:
                for future in asked:
                    future.result(30)
            finally:
                is_over.set()
            for future in watching:
                future.result(30)

    def __str__(self) -> str:
        return (
            f"{len(self.requests.answers)} requests, the slowest {self.requests.slowest:.2f} s; "
            f"{len(self.health.answers)} healthz, the slowest {self.health.slowest * 1000:.0f} ms; "
            f"{len(self.readiness.answers)} readyz, the slowest {self.readiness.slowest:.2f} s"
        )


@dataclass(frozen=True)
class Visitor:
    """Somebody with an account, and everything that can be asked of the database."""

    server: Server
    email: str
    tokens: dict[str, Any]

    @classmethod
    def at(cls, server: Server) -> Visitor:
        email = f"ann.{secrets.token_hex(6)}@example.com"
        return cls(server, email, server.api.signed_in(email))

    def whoami(self) -> Answer:
        return self.server.api.whoami(self.tokens["access_token"])

    def is_well(self) -> bool:
        return self.whoami().status == 200 and self.server.is_ready()

    def others(self) -> list[Call]:
        api, token = self.server.api, self.tokens["access_token"]
        return [*self.writes(), lambda: api.get("/v1/sessions", token=token)]

    def writes(self) -> list[Call]:
        api, token = self.server.api, self.tokens["access_token"]
        return [
            lambda: api.post("/v1/login", {"email": self.email, "password": PASSWORD}),
            lambda: api.post("/v1/signup", {"email": f"new.{self.email}", "password": PASSWORD}),
            lambda: api.refresh(self.tokens["refresh_token"]),
            lambda: api.post("/v1/logout", token=token),
            lambda: api.post("/v1/send-password-reset", {"email": self.email}),
        ]

    def many(self) -> set[int]:
        """What as many at once are answered."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return {answer.status for answer in threads.map(lambda _: self.whoami(), range(AT_ONCE))}


def _assert_unavailable(seen: Seen) -> None:
    for answer in seen.answers:
        assert answer.status == 503, answer.body
        assert answer.json["code"] == "database_unavailable"
        assert int(answer.header("Retry-After") or 0) >= 1


def _at_both(work: Callable[[str], object]) -> None:
    """Do something at both doors at the same time."""
    with ThreadPoolExecutor(len(FRAMEWORKS)) as pool:
        for done in [pool.submit(work, framework) for framework in FRAMEWORKS]:
            done.result(60)


@pytest.mark.parametrize("way", WAYS)
def test_callers_are_told_in_time_and_all_is_well_when_the_database_is_back(
    request: pytest.FixtureRequest, way: str, figures: Figures
) -> None:
    place: Place = request.getfixturevalue("far" if way in OVER_THE_NETWORK else "near")
    visitors = {framework: Visitor.at(server) for framework, server in place.doors.items()}
    storms = {framework: [Storm(), Storm()] for framework in FRAMEWORKS}
    for ann in visitors.values():
        assert ann.many() == {200}  # and connections stand

    def rage(framework: str) -> None:
        ann = visitors[framework]
        for storm in storms[framework]:
            storm.rage(ann.server, [ann.whoami] * AT_ONCE + ann.others())

    with WAYS[way](place):
        _at_both(rage)
        back = time.monotonic()
    is_healed = eventually(lambda: all(ann.is_well() for ann in visitors.values()), HEALING)
    figures(f"database {way}: all is well {time.monotonic() - back:.2f} s after it came back")
    for framework in FRAMEWORKS:
        for storm in storms[framework]:
            figures(f"database {way}, {framework}: {storm}")
    assert is_healed
    for ann in visitors.values():
        assert ann.many() == {200}
        assert ann.server.api.login(ann.email)["access_token"]
    for storm in (*storms["fastapi"], *storms["flask"]):
        _assert_unavailable(storm.requests)
        assert storm.health.statuses == {200}
        assert storm.readiness.statuses == {503}
    for storm in (*storms["fastapi"], *storms["flask"]):
        # Who gives the server up asks it once more, so that long work is not taken for silence.
        assert storm.requests.slowest < TIMEOUT * (1 + SHARE) + MARGIN
        assert storm.readiness.slowest < TIMEOUT * (1 + SHARE) + MARGIN
        assert storm.health.slowest < ALIVE


def test_while_the_database_is_silent_one_caller_finds_out_and_the_others_are_told_at_once(
    near: Place, figures: Figures
) -> None:
    """The connections that stand since before say nothing of the server: taking one of them is no answer of it."""
    visitors = {framework: Visitor.at(server) for framework, server in near.doors.items()}
    storms = {framework: Storm() for framework in FRAMEWORKS}
    for ann in visitors.values():
        assert ann.many() == {200}

    def rage(framework: str) -> None:
        ann = visitors[framework]
        assert ann.whoami().status == 503
        time.sleep(1.1 * OPEN_SECONDS)  # the next one is let through again
        storms[framework].rage(ann.server, [ann.whoami] * AT_ONCE)

    with _stopped(near):
        _at_both(rage)
    assert eventually(lambda: all(ann.is_well() for ann in visitors.values()), HEALING)
    for framework, storm in storms.items():
        figures(f"database silent, {framework}: {storm.requests.slow(TIMEOUT / 2)} waited; {storm}")
    for storm in storms.values():
        _assert_unavailable(storm.requests)
        assert storm.requests.slow(TIMEOUT / 2) + storm.readiness.slow(TIMEOUT / 2) <= 1


@contextmanager
def _read_only(place: Place) -> Iterator[None]:
    """As after a failover, when the old address leads to a standby."""
    place.postgres.set_read_only(value=True)
    try:
        yield
    finally:
        place.postgres.set_read_only(value=False)


@contextmanager
def _no_room_at_a_statement(place: Place) -> Iterator[None]:
    with _failing(place, "TRIGGER no_room BEFORE INSERT OR UPDATE ON {} FOR EACH STATEMENT"):
        yield


@contextmanager
def _no_room_at_the_commit(place: Place) -> Iterator[None]:
    with _failing(
        place, "CONSTRAINT TRIGGER no_room AFTER INSERT OR UPDATE ON {} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
    ):
        yield


@contextmanager
def _failing(place: Place, trigger: LiteralString) -> Iterator[None]:
    """Whatever is written fails as it does on a disk that is full, for which a test has no disk."""
    function = (
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    with psycopg.connect(place.url) as connection:
        connection.execute(function)
        for table in metadata.sorted_tables:
            made = sql.SQL("CREATE " + trigger + " EXECUTE FUNCTION no_room()")
            connection.execute(made.format(sql.Identifier(table.name)))
    try:
        yield
    finally:
        with psycopg.connect(place.url) as connection:
            connection.execute("DROP FUNCTION no_room CASCADE")


@contextmanager
def _files_that_cannot_grow(server: Server) -> Iterator[None]:
    """No process of the server may write to a file any more, be it a database or a log: its disk is full."""
    processes = family_of(server.process.popen.pid)
    before = {process: resource.prlimit(process, resource.RLIMIT_FSIZE) for process in processes}
    for process, (_, hard) in before.items():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        for process, limits in before.items():
            resource.prlimit(process, resource.RLIMIT_FSIZE, limits)


UNWRITABLE = {
    "read-only": _read_only,
    "without room at a statement": _no_room_at_a_statement,
    "without room at the commit": _no_room_at_the_commit,
}


@pytest.mark.parametrize("way", UNWRITABLE)
def test_a_database_that_cannot_be_written_is_still_read(near: Place, way: str, figures: Figures) -> None:
    visitors = [Visitor.at(server) for server in near.doors.values()]
    with UNWRITABLE[way](near):
        writes = _refused_writes(visitors)
    figures(f"database {way}: {len(writes.answers)} writes, the slowest {writes.slowest:.2f} s")
    _assert_nothing_was_done(visitors)


def test_an_sqlite_file_on_a_full_disk_is_still_read(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, **CHEAP) as (server,):
        visitors = [Visitor.at(server)]
        with _files_that_cannot_grow(server):
            _refused_writes(visitors)
        _assert_nothing_was_done(visitors)


def _refused_writes(visitors: list[Visitor]) -> Seen:
    writes = Seen()
    for ann in visitors:
        for call in ann.writes():
            writes.ask(call)
        assert ann.whoami().status == 200
        assert ann.server.api.get("/healthz").status == 200
        # Reads go on, so requests should still be sent here.
        assert ann.server.api.get("/readyz").status == 200
    _assert_unavailable(writes)
    return writes


def _assert_nothing_was_done(visitors: list[Visitor]) -> None:
    """All is well again, and every write can be done as if it had never been tried."""
    assert eventually(lambda: all(ann.is_well() for ann in visitors), HEALING)
    for ann in visitors:
        login, signup, *others = ann.writes()
        assert login().status == 200
        assert ann.server.api.post("/v1/login", {"email": f"new.{ann.email}", "password": PASSWORD}).status == 401
        assert signup().status == 201
        assert [call().status for call in others] == [200, 204, 202]
