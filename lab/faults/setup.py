"""Where faults happen: both doors with several workers over one database, and rounds of many users at work."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.settings.groups import DatabaseSettings
from core.sql_store import open_store
from lab.faults.history import Outcome, Record, violations
from lab.faults.postman import Postman, postman_of
from lab.faults.processes import children_of, command_of, family_of, lives
from lab.faults.workload import Service, Users, remains_of, slowest, wait_until
from lab.rounds import seconds
from tests.support.databases import empty
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, FRAMEWORKS, START_SECONDS, Server, eventually, running
from tests.support.settings import SECRET

SECONDS = seconds(0)  # for each kind of fault; one round is played in any case
CALM = 0.4  # seconds before and after a fault
FELT = 0.25  # seconds; an answer takes some milliseconds
GRACE = 60.0  # AUTH_TOKEN_REFRESH_GRACE, as it is where nobody sets it
LONGEST_ANSWER = 25.0  # seconds; where every worker of a door was killed, callers wait until one is back

SETTINGS = {
    **CHEAP,
    "AUTH_SECRET_KEY": SECRET,
    "AUTH_DATABASE_TIMEOUT": "0.7",  # so that a fault that lasts for a second is one
    "AUTH_RELAY": "false",  # messages stay where they can be counted
    "AUTH_TOKEN_SESSION_LIMIT": "1000",
    "AUTH_TOKEN_ACCESS_TTL": "3600",
}


@dataclass
class Setup:
    """The doors, which may be killed and are opened again on the same port."""

    folder: Path
    served_url: str
    """Of the database as the doors reach it."""
    url: str
    """Of the database itself."""
    stack: ExitStack
    postman: Postman
    doors: dict[str, Server] = field(default_factory=dict)

    def open(self, framework: str) -> None:
        """Start a door, for the first time or again."""
        port = self.doors[framework].port if framework in self.doors else free_port()
        arguments = ("serve", "--framework", framework, "--port", str(port), "--workers", "2")
        process = running(self.folder, *arguments, AUTH_DATABASE_URL=self.served_url, **SETTINGS)
        self.doors[framework] = Server(framework, port, self.stack.enter_context(process))

    def kill(self, framework: str) -> None:
        """End a door and all its workers, without a word."""
        supervisor = self.doors[framework].process.popen
        processes = [supervisor.pid, *children_of(supervisor.pid)]
        with suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait(START_SECONDS)
        assert eventually(lambda: not any(map(lives, processes)), START_SECONDS)

    @contextmanager
    def stopped(self, framework: str) -> Iterator[None]:
        """A door and all its workers stand still, in the middle of whatever they do, and then go on with it."""
        processes = family_of(self.doors[framework].process.popen.pid)
        _send(signal.SIGSTOP, processes)
        try:
            yield
        finally:
            _send(signal.SIGCONT, processes)

    def end(self, framework: str) -> None:
        """End a door in good order."""
        process = self.doors[framework].process
        process.terminate()
        assert process.wait() == 0, process.printed()
        assert process.leaves_nothing_behind()

    def kill_a_worker(self, framework: str, choose: random.Random) -> None:
        """End one worker of a door; its supervisor makes another."""
        if workers := _workers(self.doors[framework].process.popen.pid):
            with suppress(ProcessLookupError):
                os.kill(choose.choice(workers), signal.SIGKILL)

    def wait_until_ready(self) -> None:
        """Wait until every door serves again, by itself."""
        for server in self.doors.values():
            assert eventually(server.is_ready, START_SECONDS), server.process.printed()

    def play(self, fault: Callable[[random.Random], AbstractContextManager[None]]) -> list[str]:
        """Rounds of a fault, each with users and a history of its own; a line of figures on each."""
        is_over = time.monotonic() + SECONDS
        lines = [self._round(fault, 0)]
        while time.monotonic() < is_over:
            lines.append(self._round(fault, len(lines)))
        return lines

    def _round(self, fault: Callable[[random.Random], AbstractContextManager[None]], number: int) -> str:
        self._forget()
        seed = random.SystemRandom().randrange(10**6)
        record = Record()
        service = Service([server.api for server in self.doors.values()], record, self.postman)
        users = Users(service, seed)
        with users.at_work():
            wait_until(time.monotonic() + CALM)
            with fault(random.Random(seed)):
                pass
            self.wait_until_ready()
            wait_until(time.monotonic() + CALM)
        during = record.summary()
        users.ask_for_everything()
        operations = record.operations
        found = violations(operations, remains_of(self.url, operations), grace=GRACE)
        line = f"round {number} (seed {seed}): {during}; slowest {slowest(operations):.2f} s"
        assert not found, "\n".join([line, *found[:20]])
        assert slowest(operations) < LONGEST_ANSWER, line
        # A fault that nobody felt would prove nothing. A stop of moments may be felt as a wait alone.
        is_felt = any(operation.outcome in (Outcome.UNKNOWN, Outcome.FAILED) for operation in operations)
        assert is_felt or slowest(operations) > FELT, line
        assert sum(operation.is_ok for operation in operations) > 50, line
        return line

    def _forget(self) -> None:
        store = open_store(self.url, DatabaseSettings())
        try:
            empty(store)
        finally:
            store.close()


@contextmanager
def set_up(folder: Path, url: str, *, served_url: str | None = None) -> Iterator[Setup]:
    """Both doors at work over a database."""
    with ExitStack() as stack:
        setup = Setup(folder, served_url or url, url, stack, stack.enter_context(postman_of(url, SECRET)))
        for framework in FRAMEWORKS:
            setup.open(framework)
        setup.wait_until_ready()
        yield setup
        for framework in FRAMEWORKS:
            setup.kill(framework)  # how they end is tested elsewhere, and takes its time


def _send(number: signal.Signals, processes: list[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _workers(supervisor: int) -> list[int]:
    """Its children that serve; one of uvicorn's only keeps a list of what to clean up."""
    commands = {child: command_of(child) for child in children_of(supervisor)}
    return [child for child, command in commands.items() if command and b"resource_tracker" not in command]
