"""Connections that nobody uses, as many as one client can open in a moment."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from servers.descriptors import RESERVE, UNLIMITED, connections_at_once, raise_limit
from tests.support.descriptors import FILES, room_for, soft_limit
from tests.support.servers import CHEAP, FRAMEWORKS, Server, eventually, serving

SILENT = 1_500
USUAL = 1_024  # the soft limit of most systems
NEEDED = 2 * SILENT


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """Both doors, started as most systems start a process."""
    with ExitStack() as stack:
        stack.enter_context(room_for(NEEDED))
        with soft_limit(USUAL):
            started = serving(tmp_path_factory.mktemp("doors"), *FRAMEWORKS, **CHEAP)
            servers = stack.enter_context(started)
        yield {server.framework: server for server in servers}


def test_many_silent_connections_close_no_door(doors: dict[str, Server], framework: str) -> None:
    server = doors[framework]
    with ExitStack() as silent:
        for _ in range(SILENT):
            silent.enter_context(server.connect())
        began = time.monotonic()
        assert server.api.get("/readyz").status == 200
        server.api.signup(f"{framework}@example.com")
        assert server.api.login(f"{framework}@example.com")
        # Not after those before had been cut off, which is ten seconds.
        assert time.monotonic() - began < 5
    assert eventually(lambda: server.api.get("/readyz").status == 200, 5)


def test_thesoft_limit_is_raised_to_the_hard_one() -> None:
    hard = resource.getrlimit(FILES)[1]
    with soft_limit(USUAL):
        assert connections_at_once() == USUAL - RESERVE
        raise_limit()
        soft = resource.getrlimit(FILES)[0]
        assert soft == (UNLIMITED if hard == resource.RLIM_INFINITY else hard)
        assert connections_at_once() == min(soft, UNLIMITED) - RESERVE
    with soft_limit(RESERVE):
        assert connections_at_once() == RESERVE // 2
