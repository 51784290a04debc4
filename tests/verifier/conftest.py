from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest
from twinauth_verify import AsyncVerifier, Verifier

from tests.verifier.issuer import AUDIENCE, FakeTime, Issuer, listening
from tests.verifier.worlds import Tasks, Threads, World, offline

Opener: TypeAlias = Callable[..., World]


@pytest.fixture
def time_() -> FakeTime:
    return FakeTime()


@pytest.fixture
def issuer(time_: FakeTime) -> Issuer:
    """An issuer whose clock stands still."""
    return Issuer(clock=time_)


@pytest.fixture
def live() -> Iterator[Issuer]:
    """An issuer with real sockets and the real time."""
    made = Issuer()
    with listening(made):
        yield made


@pytest.fixture(params=["threads", "tasks"])
def open_world(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> Iterator[Opener]:
    """Make verifiers of either world; each is closed at the end, and must have left nothing behind."""
    caplog.set_level("CRITICAL", "twinauth_verify")
    opened: list[World] = []
    with ExitStack() as stack:

        def make(issuer: Issuer, *, sockets: bool = False, **settings: Any) -> World:
            options: dict[str, Any] = {"issuer": issuer.issuer, "audience": AUDIENCE} | settings
            if not sockets:
                options |= {"transport": offline(issuer), "clock": issuer.clock, "timer": issuer.clock} | settings
            world: World = (
                Threads(Verifier(**options)) if request.param == "threads" else Tasks(AsyncVerifier(**options), loop)
            )
            stack.callback(world.close)
            opened.append(world)
            return world

        yield make
    for world in opened:
        assert world.background() == []


@pytest.fixture
def world(open_world: Opener, issuer: Issuer) -> World:
    """A verifier without the feed, with a clock that stands still."""
    return open_world(issuer, follow_revocations=False)
