from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from twinauth_verify import AsyncVerifier, Verifier

from tests.support.issuer import AUDIENCE, FakeTime, Issuer, listening
from tests.support.verifiers import AnyVerifier, Asynchronous, OpenVerifier, Synchronous, offline


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


@pytest.fixture(params=["synchronous", "asynchronous"])
def open_verifier(
    request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> Iterator[OpenVerifier]:
    """Make verifiers of either verifier; each is closed at the end, and must have left nothing behind."""
    caplog.set_level("CRITICAL", "twinauth_verify")
    opened: list[AnyVerifier] = []
    with ExitStack() as stack:

        def make(issuer: Issuer, *, sockets: bool = False, **settings: Any) -> AnyVerifier:
            options: dict[str, Any] = {"issuer": issuer.issuer, "audience": AUDIENCE} | settings
            if not sockets:
                options |= {"transport": offline(issuer), "clock": issuer.clock, "timer": issuer.clock} | settings
            verifier: AnyVerifier = (
                Synchronous(Verifier(**options))
                if request.param == "synchronous"
                else Asynchronous(AsyncVerifier(**options), loop)
            )
            stack.callback(verifier.close)
            opened.append(verifier)
            return verifier

        yield make
    for verifier in opened:
        assert verifier.background() == []


@pytest.fixture
def verifier(open_verifier: OpenVerifier, issuer: Issuer) -> AnyVerifier:
    """A verifier without the feed, with a clock that stands still."""
    return open_verifier(issuer, follow_revocations=False)
