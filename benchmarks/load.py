"""Measure how many requests a second each door answers, and how long they take; compare with earlier figures.

All processes are started here, on 127.0.0.1: PostgreSQL, one process of a door after the other, and one process of
callers. Each caller has a persistent connection and sends the next request as soon as it has the answer. They share the
cores of one machine, so compare figures of the same machine only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.costs.measuring import measure_hash
from benchmarks.costs.service import PASSWORD, FilledService, filled_service
from tests.support.servers import FRAMEWORKS, HOST, serving

OPERATIONS = ("jwks", "whoami", "refresh", "login")
USERS = 2000
WORSE = 1.25  # a larger difference than other load on the machine makes

Timed = tuple[float, bool]
"""The seconds until an answer, and whether it was a success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The measurements of an operation."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int

    @classmethod
    def of(cls, answers: list[Timed], seconds: float) -> Figures:
        """Sum up the answers to all callers."""
        taken = sorted(elapsed * 1000 for elapsed, _ in answers)
        return cls(
            per_second=len(taken) / seconds,
            p50_ms=statistics.median(taken),
            p99_ms=taken[min(len(taken) - 1, len(taken) * 99 // 100)],
            errors=sum(not is_right for _, is_right in answers),
        )

    def is_worse_than(self, before: Figures) -> bool:
        """Compare the rate and the median; the 99th percentile depends too much on the machine."""
        return before.per_second > WORSE * self.per_second or self.p50_ms > WORSE * before.p50_ms


@dataclass(slots=True)
class Caller:
    """A user with a session and a persistent connection."""

    port: int
    email: str
    access: str
    refresh: str

    def call(self, operation: str, seconds: float) -> list[Timed]:
        """Send one request after the other."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        answers, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            started = time.monotonic()
            status, body = self._ask(connection, operation)
            answers.append((time.monotonic() - started, status == http.client.OK))
            if operation == "refresh" and status == http.client.OK:
                self.refresh = json.loads(body)["refresh_token"]
        connection.close()
        return answers

    def _ask(self, connection: http.client.HTTPConnection, operation: str) -> tuple[int, bytes]:
        method, target, body = {
            "jwks": ("GET", "/.well-known/jwks.json", None),
            "whoami": ("GET", "/v1/whoami", None),
            "refresh": ("POST", "/v1/refresh", {"refresh_token": self.refresh}),
            "login": ("POST", "/v1/login", {"email": self.email, "password": PASSWORD}),
        }[operation]
        fields = {"Content-Type": "application/json", "Authorization": f"Bearer {self.access}"}
        try:
            connection.request(method, target, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            return 0, b""


def call_all(callers: list[Caller], operation: str, seconds: float) -> list[Timed]:
    """Let all callers send requests at once."""
    with ThreadPoolExecutor(len(callers)) as pool:
        calls = [pool.submit(caller.call, operation, seconds) for caller in callers]
        return [answer for call in calls for answer in call.result()]


def measure_door(found: FilledService, framework: str, connections: int, seconds: float) -> dict[str, Figures]:
    """Measure every operation at one door, each after a second that does not count."""
    figures = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), framework, **found.environment) as (server,),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as outside,
    ):
        for operation in OPERATIONS:
            # No more logins at once than hashes run at once: others would wait in the queue, or be refused.
            count = min(connections, os.cpu_count() or 1) if operation == "login" else connections
            for duration in (1.0, seconds):
                pairs = zip(found.emails, found.tokens(count), strict=False)
                callers = [Caller(server.port, email, *pair) for email, pair in pairs]
                answers = outside.submit(call_all, callers, operation, duration).result()
            figures[operation] = Figures.of(answers, seconds)
    return figures


Doors = dict[str, dict[str, Figures]]


def load(path: Path) -> Doors:
    """Load saved figures."""
    found = json.loads(path.read_text())
    return {door: {name: Figures(**figures) for name, figures in of.items()} for door, of in found.items()}


def save(doors: Doors, path: Path) -> None:
    """Save figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {door: {name: asdict(figures) for name, figures in of.items()} for door, of in doors.items()}
    path.write_text(json.dumps(kept, indent=1))


def table(doors: Doors, hash_ms: float) -> str:
    """Format all figures in Markdown."""
    lines = ["| door | operation | a second | p50 ms | p99 ms | errors |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {door} | {name} | {of.per_second:.1f} | {of.p50_ms:.1f} | {of.p99_ms:.1f} | {of.errors} |"
        for door, operations in doors.items()
        for name, of in operations.items()
    ]
    bound = (os.cpu_count() or 1) * 1000 / hash_ms
    return "\n".join((*lines, "", f"Hashing alone would let {bound:.1f} logins a second pass here."))


def complaints(doors: Doors, before: Doors) -> Iterator[str]:
    """List errors, and operations that were better before."""
    for door, operations in doors.items():
        for name, figures in operations.items():
            if figures.errors:
                yield f"{door}, {name}: {figures.errors} errors"
            earlier = before.get(door, {}).get(name)
            if earlier is not None and figures.is_worse_than(earlier):
                yield f"{door}, {name}: worse by more than a quarter than {earlier}"


def main() -> None:
    """Measure, print, save and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long each operation is asked for")
    parser.add_argument("--connections", type=int, default=8, help="callers at once, each with a connection it keeps")
    parser.add_argument("--kept", type=Path, default=Path("build/load.json"), help="where the figures are kept")
    parser.add_argument("--against", type=Path, help="figures of this machine that these must not be worse than")
    chosen = parser.parse_args()
    before = load(chosen.against) if chosen.against else {}
    with filled_service(USERS) as found:
        doors = {name: measure_door(found, name, chosen.connections, chosen.seconds) for name in FRAMEWORKS}
    save(doors, chosen.kept)
    print(table(doors, measure_hash()))
    if failures := list(complaints(doors, before)):
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
