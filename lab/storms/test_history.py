"""Accounts with a long history: what they do costs nobody else the answer, and they are gone in a minute."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, func, insert, make_url, select

from core.audit.sql import audit_events
from core.clock import new_id
from core.sessions.sql import sessions
from core.users.sql import users
from lab.rounds import IS_LONG
from lab.storms.measuring import IDLE_SAMPLES, assert_as_quick, in_short, who_am_i
from tests.support.api import PASSWORD, Api
from tests.support.drivers import Answer
from tests.support.live import Figures
from tests.support.servers import AMPLE, FRAMEWORKS, Server, api_of, serving

pytestmark = pytest.mark.alone

EVENTS, ENDED, LIVE = 150_000, 19_900, 100
ADDRESS = "198.51.100.7"
MEGABYTE = 1024 * 1024
# The short round asks each door and each database once, a long one all of both.
EACH = (("fastapi", "postgres"), ("flask", "sqlite"))
ALL = tuple((framework, database) for framework in FRAMEWORKS for database in ("postgres", "sqlite"))
crossed = pytest.mark.parametrize(("framework", "empty_database"), ALL if IS_LONG else EACH, indirect=True)
MOST_MEMORY = 40 * MEGABYTE
A_MINUTE = 60.0
SETTINGS = {"AUTH_PASSWORD_BCRYPT_COST": "4", **AMPLE}


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    parsed = make_url(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(parsed if is_sqlite else parsed.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def give_history(url: str, email: str, *, live: int = LIVE, ended: int = ENDED, events: int = EVENTS) -> uuid.UUID:
    """Let an account have lived a long life."""
    now = datetime.now(UTC)
    with connected(url) as connection:
        user_id = connection.execute(select(users.c.id).where(users.c.canonical_email == email)).scalar_one()
        ids = [new_id(now - timedelta(seconds=number)) for number in range(max(events, live + ended))]
        shared = {"user_id": user_id, "seed": bytes(16), "generation": 0, "user_agent": "a program", "ip": ADDRESS}
        began = now - timedelta(days=1)
        times = {"created_at": began, "last_used_at": began}
        ends = {"idle_expires_at": now + timedelta(days=29), "expires_at": now + timedelta(days=89)}
        over = {"ended_at": now, "end_reason": "logout"}
        not_over = dict.fromkeys(over)
        rows = [
            {**shared, **times, **ends, **(not_over if number < live else over), "id": ids[number]}
            for number in range(live + ended)
        ]
        _insert(connection, sessions, rows)
        lines = ({"id": each, "at": now, "kind": "logged_in", "user_id": user_id, "ip": ADDRESS} for each in ids)
        _insert(connection, audit_events, [{**line, "request_id": line["id"].hex} for line in lines][:events])
    return uuid.UUID(str(user_id))


def _insert(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), 5000):
        connection.execute(insert(table), rows[start : start + 5000])


def left_of(url: str, user_id: uuid.UUID) -> dict[str, int]:
    """The rows that a deleted account has left, and those that hold an address."""
    with connected(url) as connection:
        counted = {
            "users": select(func.count()).where(users.c.id == user_id),
            "sessions": select(func.count()).where(sessions.c.user_id == user_id),
            "addresses": select(func.count()).where(audit_events.c.user_id == user_id, audit_events.c.ip != ""),
        }
        found = {name: connection.scalar(count) or 0 for name, count in counted.items()}
    return {name: count for name, count in found.items() if count}


def at(framework: str, url: str) -> str:
    """The door and the database of a line of figures."""
    return f"{framework}, {make_url(url).get_backend_name()}"


Timed = tuple[str, int, float]
"""What was asked, the status, and the seconds until the last byte."""


def work(url: str, tokens: Sequence[str]) -> list[Timed]:
    """What owners of long histories do: two deletions, thirty changes and three exports, much of it at once."""
    api = api_of(url)
    first, second = tokens
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(timed, "export", api.get, "/v1/account/export", token=first) for _ in range(3)]
        asked += [
            pool.submit(timed, "change", api.patch, "/v1/account", {"display_name": f"Ann {number}"}, token=first)
            for number in range(30)
        ]
        body = {"current_password": PASSWORD}
        asked.append(pool.submit(timed, "deletion", api.post, "/v1/account/delete", body, token=second))
        found = [each.result(5 * A_MINUTE) for each in asked]
    return [*found, timed("deletion", api.post, "/v1/account/delete", body, token=first)]


def timed(name: str, ask: Any, *arguments: Any, **more: Any) -> Timed:
    started = time.monotonic()
    answer: Answer = ask(*arguments, **more)
    if name == "export" and answer.status == 200:
        assert len(json.loads(answer.body)["audit_events"]) >= EVENTS
    return name, answer.status, time.monotonic() - started


@contextmanager
def owners_at_work(server: Server, tokens: Sequence[str]) -> Iterator[Future[list[Timed]]]:
    """Let the owners begin, in a process of its own: as threads they kept whoever measures from running."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as background:
        background.submit(int).result(A_MINUTE)  # the process stands
        yield background.submit(work, server.url, tokens)


@crossed
def test_what_accounts_with_a_long_history_do_costs_nobody_else_the_answer(
    framework: str, empty_database: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    owners = ("old@example.com", "older@example.com")
    with serving(tmp_path, framework, AUTH_DATABASE_URL=empty_database, **SETTINGS) as (server,):
        token = server.api.signed_in(email)["access_token"]
        pairs = [server.api.signed_in(owner) for owner in owners]
        ids = [give_history(empty_database, owner) for owner in owners]
        idle = who_am_i(server, token, until=0, least=IDLE_SAMPLES)
        busy: list[float] = []
        with owners_at_work(server, [pair["access_token"] for pair in pairs]) as working:
            while not working.done():
                busy += who_am_i(server, token, until=time.monotonic() + 0.2)
            found = working.result()
            deleted = time.monotonic()
            assert [server.api.whoami(pair["access_token"]).status for pair in pairs] == [401, 401]
            assert [server.api.refresh(pair["refresh_token"]).status for pair in pairs] == [401, 401]
            while any(left_of(empty_database, user_id) for user_id in ids):
                assert time.monotonic() < deleted + A_MINUTE
                busy += who_am_i(server, token, until=time.monotonic() + 1)
            complete = time.monotonic() - deleted
    statuses = Counter((name, status) for name, status, _ in found)
    slowest = {name: max(seconds for each, _, seconds in found if each == name) for name, _, _ in found}
    longest = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest.items())
    figures(
        f"{at(framework, empty_database)}: {dict(statuses)}, the slowest {longest}, all gone {complete:.0f} s later; "
        f"whoami median/p99/slowest: idle {in_short(idle)} ms, meanwhile {in_short(busy)} ms ({len(busy)} answers)"
    )
    assert statuses[("export", 200)] == 3
    assert statuses[("deletion", 204)] == 2
    assert statuses.keys() <= {("export", 200), ("deletion", 204), ("change", 200), ("change", 503)}
    assert_as_quick(idle, busy)


def peak_memory(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def forget_peak(pid: int) -> int:
    """Begin to look for a new peak; the memory at this moment."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_memory(pid)


@crossed
def test_an_export_of_a_long_history_takes_little_memory(
    framework: str, empty_database: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    with serving(tmp_path, framework, AUTH_DATABASE_URL=empty_database, **SETTINGS) as (server,):
        token = server.api.signed_in(email)["access_token"]
        assert server.api.get("/v1/account/export", token=token).status == 200
        give_history(empty_database, email)
        served_by = _processes(server)
        before = {pid: forget_peak(pid) for pid in served_by}
        started = time.monotonic()
        answer = server.api.get("/v1/account/export", token=token)
        taken = time.monotonic() - started
        grown = max(peak_memory(pid) - before[pid] for pid in served_by)
    exported = answer.json
    size, memory = len(answer.body) / MEGABYTE, grown / MEGABYTE
    figures(f"{at(framework, empty_database)}: {size:.1f} MB in {taken:.1f} s with {memory:.1f} MB more memory")
    assert len(exported["audit_events"]) == EVENTS + 4
    assert len(exported["sessions"]) == ENDED + LIVE + 1
    assert grown < MOST_MEMORY


def _processes(server: Server) -> list[int]:
    """The process of a server and those that it has started."""
    group = server.process.popen.pid
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


MOST_SECONDS = 0.5


@crossed
def test_the_end_of_twenty_thousand_live_sessions_is_short(
    framework: str, empty_database: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    with serving(tmp_path, framework, AUTH_DATABASE_URL=empty_database, **SETTINGS) as (server,):
        api: Api = server.api
        pair = api.signed_in(email)
        give_history(empty_database, email, live=20_000, ended=0, events=0)
        other = api.login(email)
        started = time.monotonic()
        assert api.delete("/v1/sessions?keep_current=true", token=other["access_token"]).status == 204
        taken = time.monotonic() - started
        assert [api.whoami(each["access_token"]).status for each in (pair, other)] == [401, 200]
        assert len(api.get("/v1/sessions", token=other["access_token"]).json["items"]) == 1
    figures(f"{at(framework, empty_database)}: ended 20,000 sessions in {taken * 1000:.0f} ms")
    assert taken < MOST_SECONDS
