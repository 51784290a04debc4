"""The synchronous and the asynchronous verifier behind one face: a test never asks which one it got."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar

import httpx
from twinauth_verify import AccessToken, AsyncVerifier, InvalidToken, Unavailable, Verifier
from twinauth_verify.token_validator import TokenValidator

from tests.support.issuer import Issuer

Result = TypeVar("Result")
Outcome: TypeAlias = AccessToken | type[Exception]


class AnyVerifier(Protocol):
    """A verifier, wherever it lives."""

    @property
    def validator(self) -> TokenValidator: ...
    def verify(self, text: Any) -> AccessToken: ...
    def verify_all(self, texts: list[str]) -> list[Outcome]: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    def background(self) -> list[str]: ...


OpenVerifier: TypeAlias = Callable[..., AnyVerifier]


class Synchronous:
    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    @property
    def validator(self) -> TokenValidator:
        return self._verifier.validator

    def verify(self, text: Any) -> AccessToken:
        return self._verifier.verify(text)

    def verify_all(self, texts: list[str]) -> list[Outcome]:
        """All at the same moment."""
        gate = threading.Barrier(len(texts))

        def attempt(text: str) -> Outcome:
            gate.wait(10)
            try:
                return self._verifier.verify(text)
            except (InvalidToken, Unavailable) as error:
                return type(error)

        with ThreadPoolExecutor(len(texts)) as pool:
            return list(pool.map(attempt, texts))

    def start(self) -> None:
        self._verifier.start()

    def close(self) -> None:
        self._verifier.close()

    def background(self) -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("twinauth-verify")]


class Asynchronous:
    """An event loop in a thread of its own, so that it goes on while the test does something else."""

    def __init__(self, verifier: AsyncVerifier, loop: asyncio.AbstractEventLoop) -> None:
        self._verifier = verifier
        self._loop = loop

    @property
    def validator(self) -> TokenValidator:
        return self._verifier.validator

    def verify(self, text: Any) -> AccessToken:
        return self._run(self._verifier.verify(text))

    def verify_all(self, texts: list[str]) -> list[Outcome]:
        async def attempt(text: str) -> Outcome:
            try:
                return await self._verifier.verify(text)
            except (InvalidToken, Unavailable) as error:
                return type(error)

        async def attempts(texts: Iterable[str]) -> list[Outcome]:
            return await asyncio.gather(*map(attempt, texts))

        return self._run(attempts(texts))

    def start(self) -> None:
        self._run(self._verifier.start())

    def close(self) -> None:
        self._run(self._verifier.close())

    def background(self) -> list[str]:
        async def others() -> list[str]:
            current = asyncio.current_task()
            return [task.get_name() for task in asyncio.all_tasks() if task is not current]

        return self._run(others())

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


def offline(issuer: Issuer) -> httpx.MockTransport:
    """The issuer without sockets, for tests that are not about them."""

    def handle(request: httpx.Request) -> httpx.Response:
        reply = issuer.feed(dict(request.url.params)) if "revocations" in request.url.path else issuer.jwks()
        headers = {"Content-Type": reply.media_type} | reply.headers
        return httpx.Response(reply.status, headers=headers, content=reply.body)

    return httpx.MockTransport(handle)
