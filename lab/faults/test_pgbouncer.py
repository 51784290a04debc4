"""Both doors behind PgBouncer in transaction mode, with more connections to it than it has to the server."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.faults.history import Kind, Outcome, Record, violations
from lab.faults.setup import GRACE
from lab.faults.workload import Service, Users, remains_of, wait_until
from lab.rounds import seconds
from tests.support.databases import postgres_url
from tests.support.live import Figures
from tests.support.pooler import SERVER_CONNECTIONS, console, pooling
from tests.support.servers import CHEAP, FRAMEWORKS, serving

LASTS = seconds(2)
SETTINGS = {
    **CHEAP,
    "AUTH_PASSWORD_HASH_WAIT": "60",  # nobody is to be refused for want of a core
    "AUTH_DATABASE_POOLER": "true",
    "AUTH_RELAY": "false",  # messages stay where they can be counted
    "AUTH_TOKEN_SESSION_LIMIT": "1000",
}


@pytest.fixture
def server(postgres: str) -> Iterator[str]:
    """The URL of an empty database as it is reached directly."""
    with postgres_url(postgres) as url:
        yield url


@pytest.fixture
def pooled(server: str) -> Iterator[str]:
    """The same, through PgBouncer."""
    with pooling(server) as url:
        yield url


def test_many_users_at_both_doors_share_a_few_connections(
    server: str, pooled: str, tmp_path: Path, figures: Figures
) -> None:
    """Started on an empty database, which every process wants to migrate; the history of many users is kept."""
    seed = random.SystemRandom().randrange(10**6)
    record = Record()
    options = ("--workers", "2")
    with serving(tmp_path, *FRAMEWORKS, options=options, AUTH_DATABASE_URL=pooled, **SETTINGS) as doors:
        users = Users(Service([door.api for door in doors], record), seed)
        with users.at_work():
            wait_until(time.monotonic() + LASTS)
            clients, servers = console(pooled, "SHOW CLIENTS"), console(pooled, "SHOW SERVERS")
        users.ask_for_everything()
    operations = record.operations
    line = f"{record.summary()}; {len(clients)} clients of {len(servers)} server connections (seed {seed})"
    figures(f"pgbouncer: {line}")
    assert not violations(operations, remains_of(server, operations), grace=GRACE)
    assert len(clients) > SERVER_CONNECTIONS >= len(servers)
    assert {operation.outcome for operation in operations} <= {Outcome.OK, Outcome.REFUSED}, line
    done = {operation.kind for operation in operations if operation.is_ok}
    assert done >= {Kind.SIGNUP, Kind.LOGIN, Kind.REFRESH, Kind.WHOAMI}
