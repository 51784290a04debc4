"""The verifier for code that runs in threads. Its twin for tasks is `tasks`."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from twinauth_verify.bench import Bench
from twinauth_verify.errors import Unavailable
from twinauth_verify.feed import Feed
from twinauth_verify.fetching import Answer, FetchFailed, Intake, Question, client_options
from twinauth_verify.keys import Key
from twinauth_verify.settings import Settings, Tuning
from twinauth_verify.tokens import AccessToken

_log = logging.getLogger("twinauth_verify")


class Verifier:
    """Verifies access tokens of one issuer for one audience; made once and shared by all threads.

    It fetches the issuer's keys and follows its revocations in the background: from `start` on, or from the first
    token. After a fork the child starts a background of its own.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        **tuning: Unpack[Tuning],
    ) -> None:
        self.settings = Settings(issuer=issuer, audience=audience, **tuning)
        self.bench = Bench(self.settings, clock=clock, timer=timer)
        self._transport = transport
        self._fetching = threading.Lock()
        self._starting = threading.Lock()
        self._background: _Background | None = None
        self._closed = False

    def verify(self, text: str) -> AccessToken:
        """Verify an access token.

        Raises:
            InvalidToken: it is not to be trusted, for whatever reason.
            Unavailable: that cannot be told at the moment.

        """
        case = self.bench.open(text)
        if self._closed:
            raise Unavailable
        if self.bench.feed is not None:
            self._follow(self.bench.feed)
        return self.bench.judge(case, self._key(case.kid))

    def start(self) -> None:
        """Fetch the keys and begin to follow the revocations; return when both are here, or the first try failed."""
        self._closed = False
        if self.bench.feed is None:
            self._refresh(None)
        else:
            self._follow(self.bench.feed)

    def close(self) -> None:
        """End what goes on in the background. Every token is refused until the next `start`."""
        self._closed = True
        with self._starting:
            if self._background is not None:
                self._background.close(self.settings.timeout)
                self._background = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, kid: str, *, ahead: float = 0.0) -> Key | None:
        self._refresh(kid, ahead=ahead)
        return self.bench.keys.get(kid)

    def _refresh(self, kid: str | None, *, ahead: float = 0.0) -> None:
        """Fetch the keys if it is time to. One thread does; the others wait for it only if they have no key."""
        keys = self.bench.keys
        if not keys.is_due(kid, ahead=ahead):
            return
        patience = 0.0 if kid is not None and keys.knows(kid) else 2 * self.settings.timeout
        if not self._fetching.acquire(timeout=patience):
            return
        try:
            if keys.is_due(kid, ahead=ahead):  # the one before may have fetched
                self._fetch_keys(kid)
        finally:
            self._fetching.release()

    def _fetch_keys(self, kid: str | None) -> None:
        keys = self.bench.keys
        try:
            with self._client(self.settings.keys_url) as client:
                keys.accept(fetch(client, keys.question), kid)
        except (FetchFailed, httpx.HTTPError, ValueError, OSError) as error:
            keys.failed()
            _log.warning("The keys could not be fetched: %s: %s", type(error).__name__, error)

    def _follow(self, feed: Feed) -> None:
        background = self._background
        if background is None or not background.thread.is_alive():
            background = self._start_background(feed)
        if not feed.is_settled:
            background.settled.wait(self.settings.timeout)

    def _start_background(self, feed: Feed) -> _Background:
        with self._starting:
            if self._closed:
                raise Unavailable
            if self._background is None or not self._background.thread.is_alive():
                feed.resume()
                self._background = _Background(self._follow_until_closed, feed)
            return self._background

    def _follow_until_closed(self, feed: Feed, background: _Background) -> None:
        while not background.closing.is_set():
            try:
                with self._client(self.settings.feed_url) as client:
                    self._listen(feed, client, background)
            except Exception as error:  # noqa: BLE001 - a follower that ends would let nobody in any more
                if not background.closing.is_set():
                    background.pause(feed, feed.failed(error))

    def _listen(self, feed: Feed, client: httpx.Client, background: _Background) -> None:
        while not background.closing.is_set():
            background.pause(feed, self._ask(feed, client, background))

    def _ask(self, feed: Feed, client: httpx.Client, background: _Background) -> float:
        asked = feed.ask()
        jws = feed.read(fetch(client, asked.question, trace=background.trace))
        # So the keys are renewed here, before they are stale, and not while a request waits.
        key = self._key(jws.kid, ahead=2 * self.settings.feed_wait)
        return feed.accept(asked, jws, key)

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(transport=self._transport, **client_options(url))


class _Background:
    """The thread that follows the feed, and the means to end it while it waits for an answer."""

    def __init__(self, follow: Callable[[Feed, _Background], None], feed: Feed) -> None:
        self.closing = threading.Event()
        self.settled = threading.Event()
        self._socket: socket.socket | None = None
        self.thread = threading.Thread(target=follow, args=(feed, self), name="twinauth-verify", daemon=True)
        self.thread.start()

    def close(self, seconds: float) -> None:
        """End the thread: what it waits for ends as if the issuer had hung up."""
        self.closing.set()
        if self._socket is not None:
            _hang_up(self._socket)
        self.thread.join(seconds)

    def pause(self, feed: Feed, seconds: float) -> None:
        """Rest between two questions; who waits for the first ones to be over is told."""
        if feed.is_settled:
            self.settled.set()
        self.closing.wait(seconds)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the connection, as httpcore tells of it."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
        if self.closing.is_set():
            raise FetchFailed("closing")


def fetch(client: httpx.Client, question: Question, *, trace: Any = None) -> Answer:
    """Fetch an answer, within its bounds.

    Raises:
        FetchFailed: it is none to use.
        httpx.HTTPError: there is none.

    """
    intake = Intake(question)
    extensions = {} if trace is None else {"trace": trace}
    with client.stream("GET", question.url, extensions=extensions, **question.options()) as response:
        intake.head(response)
        for part in response.iter_bytes():
            intake.part(part)
    return intake.answer(response)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError):
        return  # it has ended by itself
