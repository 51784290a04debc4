"""The verifier for asynchronous code. Its twin for threads is `synchronous`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, Unpack

import httpx

from twinauth_verify.errors import Unavailable
from twinauth_verify.feed import Feed
from twinauth_verify.fetching import Answer, FetchFailed, FetchRequest, ResponseReader, client_options
from twinauth_verify.key_cache import COOLDOWN_WITHOUT_KEYS
from twinauth_verify.keys import Key
from twinauth_verify.settings import Settings, Tuning
from twinauth_verify.token_validator import TokenValidator
from twinauth_verify.tokens import AccessToken

_log = logging.getLogger("twinauth_verify")


class AsyncVerifier:
    """Verifies access tokens of one issuer for one audience; made once and shared by all tasks of a loop.

    It fetches the issuer's keys and follows its revocations in the background: from `start` on, or from the first
    token. In another loop, as tests make them, it starts anew.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        **tuning: Unpack[Tuning],
    ) -> None:
        self.settings = Settings(issuer=issuer, audience=audience, **tuning)
        self.validator = TokenValidator(self.settings, clock=clock, timer=timer)
        self._transport = transport
        self._fetching: asyncio.Task[None] | None = None
        self._background: _Background | None = None
        self._closed = False

    async def verify(self, text: str) -> AccessToken:
        """Verify an access token.

        Raises:
            InvalidToken: the token is not valid; every defect is this one error.
            Unavailable: no token can be verified at the moment.

        """
        parsed = self.validator.parse(text)
        if self._closed:
            raise Unavailable
        if self.validator.feed is not None:
            await self._follow(self.validator.feed)
        return self.validator.validate(parsed, await self._key(parsed.kid))

    async def start(self) -> None:
        """Fetch the keys and begin to follow the revocations; return when both are here, or the first try failed."""
        self._closed = False
        if self.validator.feed is None:
            await self._refresh(None)
        else:
            await self._follow(self.validator.feed)

    async def close(self) -> None:
        """End the background tasks. Every token is refused until the next `start`."""
        self._closed = True
        background, self._background = self._background, None
        fetching, self._fetching = self._fetching, None
        await _end(background.task if background else None)
        await _end(fetching)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _key(self, kid: str, *, of_feed: bool = False) -> Key | None:
        await self._refresh(kid, of_feed=of_feed)
        return self.validator.keys.get(kid)

    async def _refresh(self, kid: str | None, *, of_feed: bool = False) -> None:
        """Fetch the keys if they are due, in one task.

        Others go on with the keys that there are. Only where there are none yet do they wait, for a second: tokens of
        keys that nobody has must not pile up while the issuer hangs.

        Raises:
            Unavailable: the key may be among those that another task is fetching.

        """
        keys = self.validator.keys
        if not keys.is_due(kid, of_feed=of_feed):
            return
        timeout: float | None = None
        if not _is_running(self._fetching):
            self._fetching = asyncio.create_task(self._fetch_keys(kid), name="twinauth-verify keys")
        else:
            timeout = 0.0 if keys.has_any else COOLDOWN_WITHOUT_KEYS
        if self._fetching is None:
            return
        # Unlike `await` this does not cancel the fetch when a client disconnects: other requests need its keys.
        _, running = await asyncio.wait([self._fetching], timeout=timeout)
        if running and kid is not None and not keys.knows(kid):
            raise Unavailable

    async def _fetch_keys(self, kid: str | None) -> None:
        keys = self.validator.keys
        try:
            async with self._client(self.settings.keys_url) as client:
                keys.accept(await fetch(client, keys.fetch_request), kid)
        except (FetchFailed, httpx.HTTPError, ValueError, OSError) as error:
            keys.record_failure()
            _log.warning("The keys could not be fetched: %s: %s", type(error).__name__, error)

    async def _follow(self, feed: Feed) -> None:
        background = self._background
        if background is None or not _is_running(background.task):
            feed.resume()
            background = self._background = _Background(self._follow_until_closed, feed)
        if not feed.is_settled:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(background.settled.wait(), self.settings.timeout)

    async def _follow_until_closed(self, feed: Feed, background: _Background) -> None:
        while True:
            try:
                async with self._client(self.settings.feed_url) as client:
                    await self._poll(feed, client, background)
            except Exception as error:  # noqa: BLE001 - without a follower every token would be refused
                await background.wait(feed, feed.record_failure(error))

    async def _poll(self, feed: Feed, client: httpx.AsyncClient, background: _Background) -> None:
        while True:
            await background.wait(feed, await self._poll_once(feed, client))

    async def _poll_once(self, feed: Feed, client: httpx.AsyncClient) -> float:
        request = feed.next_request()
        jws = feed.read(await fetch(client, request.fetch))
        key = await self._key(jws.kid, of_feed=True)
        return feed.accept(request, jws, key)

    def _client(self, url: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, **client_options(url))


class _Background:
    """The task that follows the feed."""

    def __init__(self, follow: Callable[[Feed, _Background], Awaitable[None]], feed: Feed) -> None:
        self.settled = asyncio.Event()
        self.task = asyncio.ensure_future(follow(feed, self))

    async def wait(self, feed: Feed, seconds: float) -> None:
        """Wait between two requests for the feed; callers that wait for the first ones go on."""
        if feed.is_settled:
            self.settled.set()
        await asyncio.sleep(seconds)


async def fetch(client: httpx.AsyncClient, request: FetchRequest) -> Answer:
    """Fetch an answer, within the bounds of the request.

    Raises:
        FetchFailed: the answer cannot be used.
        httpx.HTTPError: there is no answer.

    """
    reader = ResponseReader(request)
    async with client.stream("GET", request.url, **request.options()) as response:
        reader.read_head(response)
        async for part in response.aiter_bytes():
            reader.read_part(part)
    return reader.answer(response)


def _is_running(task: asyncio.Future[None] | None) -> bool:
    """Whether a task runs in the current event loop; a task of another loop may never end."""
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


async def _end(task: asyncio.Future[None] | None) -> None:
    if task is not None and _is_running(task):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
