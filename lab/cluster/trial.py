"""The trial: what fails, how long nobody could write, and whether anything that was acknowledged is gone."""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from core.settings.groups import DatabaseSettings
from core.sql_store import open_store
from lab.cluster.cluster import MEND_SECONDS, Cluster, LabError, Node, running_cluster
from lab.cluster.load import Answers, Load, counted
from lab.faults.history import Kind, Record, violations
from lab.faults.setup import GRACE
from lab.faults.workload import Service, remains_of
from tests.support.databases import empty
from tests.support.servers import CHEAP, START_SECONDS, Server, eventually, running

CALM = 3.0  # seconds before and after a fault
FROZEN = 3.0  # seconds for which a standby receives nothing before the leader is killed
SAMPLES = 300
DCS_AWAY = 30.0  # seconds; longer than the lease of the leader
SETTINGS = {
    **CHEAP,
    # Everybody comes from one address, and would wait for its one counter: what is measured is the cluster.
    "AUTH_THROTTLE": "false",
    "AUTH_RELAY": "false",  # messages stay where they can be counted
    "AUTH_TOKEN_ACCESS_TTL": "3600",
    "AUTH_PASSWORD_HASH_WAIT": "60",
}
DOORS = {
    "fastapi": ("fastapi", 17800),
    "flask": ("flask", 17801),
    "fastapi, PgBouncer": ("fastapi", 17810),
    "flask, PgBouncer": ("flask", 17811),
}


def open_doors(cluster: Cluster, folder: Path, stack: ExitStack) -> dict[str, Server]:
    """Both doors before HAProxy, and both before PgBouncer, which stands before HAProxy."""
    folder.mkdir()
    doors: dict[str, Server] = {}
    for name, (framework, port) in DOORS.items():
        is_pooled = "PgBouncer" in name
        url = cluster.pooled_url if is_pooled else cluster.url
        process = running(
            folder, "serve", "--framework", framework, "--port", str(port),
            AUTH_DATABASE_URL=url, AUTH_DATABASE_POOLER=str(is_pooled), **SETTINGS,
        )  # fmt: skip
        doors[name] = Server(framework, port, stack.enter_context(process))
    for server in doors.values():
        if not eventually(server.is_ready, START_SECONDS):
            raise LabError(f"{server.framework} is not ready: {server.process.printed()}")
    return doors


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one fault did."""

    name: str
    outages: Mapping[str, float]
    """Seconds, by door."""
    mended: float
    """Seconds from the start of whoever was killed until there was a synchronous standby again."""
    acknowledged: int
    """Writes."""
    lost: list[str]
    answers: Answers
    rewinds: int

    def line(self) -> str:
        """The figures in one row."""
        outages = " | ".join(f"{seconds:.1f}" for seconds in self.outages.values())
        statuses = self.answers.statuses
        return (
            f"| {self.name} | {outages} | {self.acknowledged} | {len(self.lost)} | {statuses[503]} | {statuses[0]} "
            f"| {self.answers.slowest:.1f} | {self.mended:.0f} | {self.rewinds} |"
        )


COLUMNS = (
    "fault",
    *(f"outage at {name}" for name in DOORS),
    "acknowledged",
    "lost",
    "503",
    "no answer",
    "slowest",
    "mended after",
    "rewinds",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


class Trial:
    """Rounds of faults on one cluster."""

    def __init__(self, cluster: Cluster, doors: Mapping[str, Server]) -> None:
        self._cluster = cluster
        self._doors = doors
        self._killed: Node | None = None
        self._stopped: int | None = None

    def play(self, name: str, fault: Callable[[Trial], None], *, standby: str = "sync_standby") -> Round:
        """One fault under load, until all is as it was before."""
        if not eventually(lambda: self._cluster.is_whole(standby=standby), MEND_SECONDS):
            raise LabError(f"before {name!r} there is no standby")
        self._forget()
        seed, rewinds = random.SystemRandom().randrange(10**6), self._cluster.rewinds()
        answers, record = Answers(), Record()
        doors = {label: counted(server, answers) for label, server in self._doors.items()}
        service = Service(list(doors.values()), record)
        load = Load(service, doors, seed)
        with load.at_work():
            time.sleep(CALM)
            fault(self)
            broken = time.monotonic()
            if not eventually(lambda: load.is_served_since(broken), MEND_SECONDS):
                raise LabError(f"after {name!r} nobody is served")
            mended = self._mend(standby)
            time.sleep(CALM)
        load.ask_for_everybody()
        operations = record.operations
        return Round(
            name=name,
            outages=load.outages(),
            mended=mended,
            acknowledged=sum(operation.is_ok and operation.kind != Kind.WHOAMI for operation in operations),
            lost=violations(operations, remains_of(self._cluster.url, operations), grace=GRACE),
            answers=answers,
            rewinds=self._cluster.rewinds() - rewinds,
        )

    def kill_leader(self) -> None:
        """Patroni and PostgreSQL, at once."""
        self._kill(self._leader())

    def kill_standby(self) -> None:
        self._kill(self._cluster.standby())

    def kill_postgres(self) -> None:
        """Of the leader, whose Patroni starts it again."""
        self._cluster.kill_postgres(self._leader())

    def silence_standby(self) -> None:
        """Its connection stands, and it acknowledges nothing."""
        self._stopped = self._cluster.stop_receiving(self._cluster.standby())

    def freeze_standby_and_kill_leader(self) -> None:
        """What the leader has written since is on no other disk, and the standby is the only one to take over."""
        receiver = self._cluster.stop_receiving(self._cluster.standby())
        time.sleep(FROZEN)
        self._kill(self._leader())
        # Not to go on: what the leader has sent stands in the kernel, where a cut network would have had it lost.
        os.kill(receiver, signal.SIGKILL)

    def switch_over(self) -> None:
        self._cluster.switch_over()

    def take_etcd_away(self) -> None:
        self._cluster.send("etcd", signal.SIGSTOP)
        time.sleep(DCS_AWAY)
        self._cluster.send("etcd", signal.SIGCONT)

    def acknowledge_alone(self) -> None:
        """Let the leader wait for nobody: the opposite of what is promised, to see whether that would be seen."""
        self._cluster.configure(synchronous_mode=False)

        def waits_for_nobody() -> bool:
            return self._cluster.administer(sql.SQL("SHOW synchronous_standby_names")) == [("",)]

        if not eventually(waits_for_nobody, START_SECONDS):
            raise LabError("the leader goes on to wait for its standby")

    def price_of_a_write(self) -> float:
        """Seconds that a refresh takes at the median, of one caller at one door and with nothing else to do."""
        door = self._doors["fastapi"].api
        address = f"one.{random.SystemRandom().randrange(10**6)}@example.com"
        token = door.signed_in(address)["refresh_token"]
        taken = []
        for _ in range(SAMPLES):
            started = time.monotonic()
            answer = door.refresh(token)
            taken.append(time.monotonic() - started)
            token = answer.json["refresh_token"]
        return statistics.median(taken)

    def _leader(self) -> Node:
        leader = self._cluster.leader()
        if leader is None:
            raise LabError("there is no leader")
        return leader

    def _kill(self, node: Node) -> None:
        self._cluster.kill(node)
        self._killed = node

    def _mend(self, standby: str) -> float:
        """Start whoever was killed, and wait until both nodes have what is written."""
        started = time.monotonic()
        if self._killed is not None:
            self._cluster.start_node(self._killed)
            self._killed = None
        if self._stopped is not None:
            with suppress(ProcessLookupError):  # its PostgreSQL has ended it
                os.kill(self._stopped, signal.SIGCONT)
            self._stopped = None
        if not eventually(lambda: self._cluster.is_whole(standby=standby), MEND_SECONDS):
            raise LabError("there is no standby again")
        return time.monotonic() - started

    def _forget(self) -> None:
        store = open_store(self._cluster.url, DatabaseSettings())
        try:
            empty(store)
        finally:
            store.close()


ROUNDS: tuple[tuple[str, Callable[[Trial], None]], ...] = (
    ("leader killed", Trial.kill_leader),
    ("leader killed", Trial.kill_leader),
    ("leader killed", Trial.kill_leader),
    ("standby cut off for 3 s, then leader killed", Trial.freeze_standby_and_kill_leader),
    ("PostgreSQL of the leader killed", Trial.kill_postgres),
    ("standby killed", Trial.kill_standby),
    ("standby silent", Trial.silence_standby),
    ("switchover", Trial.switch_over),
    ("etcd away for 30 s", Trial.take_etcd_away),
)
CONTROL = "the same without synchronous_mode", Trial.freeze_standby_and_kill_leader


def run(folder: Path) -> int:
    """Play everything and print the table; 0 where nothing was lost that must not be."""
    started, failures = time.monotonic(), list[str]()
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder))
        trial = Trial(cluster, open_doors(cluster, folder / "doors", stack))
        say(HEAD)
        for name, fault in ROUNDS:
            played = trial.play(name, fault)
            say(played.line())
            failures += [f"{name}: {lost}" for lost in played.lost]
            if played.answers.without_retry_after:
                failures.append(f"{name}: {played.answers.without_retry_after} of 503 without Retry-After")
        with_standby = trial.price_of_a_write()
        # A trial that could not see a loss would prove nothing.
        trial.acknowledge_alone()
        alone = trial.price_of_a_write()
        name, fault = CONTROL
        played = trial.play(name, fault, standby="replica")
        say(played.line())
        say(f"a refresh takes {with_standby * 1000:.1f} ms, and {alone * 1000:.1f} ms where nobody waits for a standby")
        if not played.lost:
            failures.append(f"{name}: nothing was lost, so it is not known whether a loss would be seen")
    say(f"{time.monotonic() - started:.0f} s; {len(failures)} failures")
    for failure in failures[:20]:
        say(failure)
    return 1 if failures else 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
