"""Measures each operation at a door and in the database."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from sqlalchemy import Connection, Engine, event
from twinauth_verify import Verifier

from benchmarks.costs.meter import Counts, Meter
from benchmarks.costs.service import ISSUER, PASSWORD, FilledService, Request
from benchmarks.costs.sizing import Cost
from core.authentication.passwords.hasher import PasswordHasher
from core.housekeeping import BATCH
from core.origin import Origin
from core.settings.groups import PasswordSettings
from core.sql_store import SqlUnitOfWork
from tests.support.reviewed_statements import noted
from tests.support.servers import HOST, Server, serving

CALLERS = 4
HASHING_CALLERS = 2  # no more than hashes run at once, so that none is refused
TIMES = {"whoami": 1500, "refresh": 800, "login": 40, "signup": 40, "logout": 500, "feed": 500}


def _send_all(server: Server, requests: Sequence[Request], callers: int) -> None:
    def run(share: Sequence[Request]) -> None:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
        for request in share:
            request.send(connection)
        connection.close()

    with ThreadPoolExecutor(callers) as pool:
        for future in [pool.submit(run, requests[number::callers]) for number in range(callers)]:
            future.result()


def _per_operation(before: Counts, after: Counts, count: int) -> tuple[float, float, float]:
    """Return milliseconds of the door and of the database, and bytes of the log."""
    return (
        (after.door - before.door) * 1000 / count,
        (after.database - before.database) * 1000 / count,
        (after.wal - before.wal) / count,
    )


def measure_door(found: FilledService, framework: str, *, whole_pages: bool) -> dict[str, Cost]:
    """Measure every operation at one door.

    With ``whole_pages`` the log contains a copy of each page at its first change after a checkpoint, and each operation
    begins with a checkpoint; otherwise it contains the records alone.
    """
    _set_whole_pages(found.admin, is_on=whole_pages)
    environment = {**found.environment, "AUTH_TRUSTED_PROXIES": HOST}
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), framework, **environment) as (server,):
        meter = Meter(found.admin, server.process.popen.pid)
        # Warm up connections, caches and the counters of these accounts.
        _send_all(server, found.requests("whoami", 100), CALLERS)
        _send_all(server, found.requests("login", TIMES["login"]), HASHING_CALLERS)
        for operation, count in TIMES.items():
            requests = found.requests(operation, count)
            if whole_pages:
                _checkpoint(found.admin)
            before = meter.read()
            _send_all(server, requests, HASHING_CALLERS if operation in ("login", "signup") else CALLERS)
            door, database, wal = _per_operation(before, meter.read(), count)
            statements, commits = _statements(found, operation)
            costs[operation] = Cost(
                door_ms=door,
                database_ms=database,
                statements=statements,
                commits=commits,
                **{"wal_first" if whole_pages else "wal": wal},
            )
    return costs


def measure_purges(found: FilledService) -> dict[str, Cost]:
    """Measure the cost of purging a row."""
    old = found.app.sessions._clock.now()  # noqa: SLF001
    purges: dict[str, Callable[[SqlUnitOfWork], int]] = {
        "an audit event goes": lambda work: work.audit.purge(before=old, limit=BATCH),
        "a session goes": lambda work: work.sessions.purge(before=old.replace(year=2099), made_before=old, limit=BATCH),
    }
    costs = {}
    meter = Meter(found.admin, None)
    for name, purge in purges.items():
        results = {}
        for is_on in (False, True):
            _set_whole_pages(found.admin, is_on=is_on)
            _checkpoint(found.admin)
            before = meter.read()
            for _ in range(20):
                with found.store.begin() as work:
                    purge(work)
                    work.commit()
            results[is_on] = _per_operation(before, meter.read(), 20 * BATCH)
        door, database, wal = results[False]
        costs[name] = Cost(door_ms=door, database_ms=database, commits=1 / BATCH, wal=wal, wal_first=results[True][2])
    return costs


def measure_verification(found: FilledService, count: int = 1000) -> dict[str, float]:
    """Return the milliseconds of CPU to verify a token in another service, the first time and again."""
    jwks = json.dumps(found.app.keys.jwks()).encode()
    headers = {"Content-Type": "application/jwk-set+json", "Cache-Control": "max-age=300"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=jwks, headers=headers))
    tokens = [access for access, _ in found.tokens(count)]
    with Verifier(issuer=ISSUER, audience=ISSUER, follow_revocations=False, transport=transport) as verifier:
        verifier.verify(tokens.pop())  # fetches the keys
        spent = []
        for _ in range(2):
            start = time.process_time()
            for token in tokens:
                verifier.verify(token)
            spent.append((time.process_time() - start) * 1000 / len(tokens))
    return {"first": spent[0], "again": spent[1]}


def measure_hash() -> float:
    """Return the milliseconds of CPU to check a password."""
    hasher = PasswordHasher(PasswordSettings())
    hashed = hasher.hash(PASSWORD)
    start = time.process_time()
    for _ in range(5):
        hasher.verify(PASSWORD, hashed)
    return (time.process_time() - start) * 1000 / 5


def _statements(found: FilledService, operation: str) -> tuple[int, int]:
    """Count the statements of an operation, without BEGIN and COMMIT, and its commits, in this process."""
    origin = Origin(ip="203.0.113.9")
    (access, refresh) = found.tokens(1)[0]
    calls: dict[str, Callable[[], object]] = {
        "whoami": lambda: found.app.sessions.whoami(access),
        "refresh": lambda: found.app.sessions.refresh(refresh, origin),
        "login": lambda: found.app.authentication.login(found.emails[-1], PASSWORD, origin),
        "signup": lambda: found.app.accounts.sign_up(f"{uuid.uuid4().hex}@example.com", PASSWORD, None, origin),
        "logout": lambda: found.app.sessions.logout(found.app.sessions.whoami(access), origin),
        "feed": lambda: found.app.revocations.read("999999999", wait=0),
    }
    found.app.keys.keys()  # reads the ring before, so that the operation does not
    commits: list[Connection] = []
    note = commits.append  # the same object for listen and remove
    event.listen(found.store.engine, "commit", note)
    try:
        with noted(found.store.engine) as seen:
            calls[operation]()
    finally:
        event.remove(found.store.engine, "commit", note)
    return len(seen), len(commits)


def _set_whole_pages(engine: Engine, *, is_on: bool) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER SYSTEM SET full_page_writes = {'on' if is_on else 'off'}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        time.sleep(0.5)


def _checkpoint(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")
