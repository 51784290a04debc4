"""The verifier for code that runs in threads. Its twin for asynchronous code is `asynchronous`."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from twinauth_verify.errors import Unavailable
from twinauth_verify.feed import Feed
from twinauth_verify.fetching import Answer, FetchFailed, FetchRequest, ResponseReader, client_options
from twinauth_verify.forks import LockHolder
from twinauth_verify.key_cache import COOLDOWN_WITHOUT_KEYS
from twinauth_verify.keys import Key
from twinauth_verify.settings import Settings, Tuning
from twinauth_verify.token_validator import TokenValidator
from twinauth_verify.tokens import AccessToken

_log = logging.getLogger("twinauth_verify")


class Verifier(LockHolder):
    """Verifies access tokens of one issuer for one audience; made once and shared by all threads.

    It fetches the issuer's keys and follows its revocations in the background: from `start` on, or from the first
    token. After a fork the child starts its own background thread.
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
        self.validator = TokenValidator(self.settings, clock=clock, timer=timer)
        self._transport = transport
        self._background: _Background | None = None
        self._closed = False
        super().__init__()

    def _make_locks(self) -> None:
        """Make the locks of fetching and of starting."""
        self._fetching = threading.Lock()
        self._starting = threading.Lock()

    def verify(self, text: str) -> AccessToken:
        """Verify an access token.

        Raises:
            InvalidToken: the token is not valid; every defect is this one error.
            Unavailable: no token can be verified at the moment.

        """
        parsed = self.validator.parse(text)
        if self._closed:
            raise Unavailable
        if self.validator.feed is not None:
            self._follow(self.validator.feed)
        return self.validator.validate(parsed, self._key(parsed.kid))

    def start(self) -> None:
        """Fetch the keys and begin to follow the revocations; return when both are here, or the first try failed."""
        self._closed = False
        if self.validator.feed is None:
            self._refresh(None)
        else:
            self._follow(self.validator.feed)

    def close(self) -> None:
        """End the background thread. Every token is refused until the next `start`."""
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

    def _key(self, kid: str, *, of_feed: bool = False) -> Key | None:
        self._refresh(kid, of_feed=of_feed)
        return self.validator.keys.get(kid)

    def _refresh(self, kid: str | None, *, of_feed: bool = False) -> None:
        """Fetch the keys if they are due, in one thread.

        Others go on with the keys that there are. Only where there are none yet do they wait, for a second: tokens of
        keys that nobody has must not hold every thread while the issuer hangs.

        Raises:
            Unavailable: the key may be among those that another thread is fetching.

        """
        keys = self.validator.keys
        if not keys.is_due(kid, of_feed=of_feed):
            return
        if not self._fetching.acquire(timeout=0.0 if keys.has_any else COOLDOWN_WITHOUT_KEYS):
            if kid is not None and not keys.knows(kid):
                raise Unavailable
            return
        try:
            if keys.is_due(kid, of_feed=of_feed):  # another thread may have fetched meanwhile
                self._fetch_keys(kid)
        finally:
            self._fetching.release()

    def _fetch_keys(self, kid: str | None) -> None:
        keys = self.validator.keys
        try:
            with self._client(self.settings.keys_url) as client:
                keys.accept(fetch(client, keys.fetch_request), kid)
        except (FetchFailed, httpx.HTTPError, ValueError, OSError) as error:
            keys.record_failure()
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
                    self._poll(feed, client, background)
            except Exception as error:  # noqa: BLE001 - without a follower every token would be refused
                if not background.closing.is_set():
                    background.wait(feed, feed.record_failure(error))

    def _poll(self, feed: Feed, client: httpx.Client, background: _Background) -> None:
        while not background.closing.is_set():
            background.wait(feed, self._poll_once(feed, client, background))

    def _poll_once(self, feed: Feed, client: httpx.Client, background: _Background) -> float:
        request = feed.next_request()
        jws = feed.read(fetch(client, request.fetch, trace=background.trace))
        key = self._key(jws.kid, of_feed=True)
        return feed.accept(request, jws, key)

    def _client(self, url: str) -> httpx.Client:
        return httpx.Client(transport=self._transport, **client_options(url))


class _Background:
    """The thread that follows the feed; it can be ended while it waits for an answer."""

    def __init__(self, follow: Callable[[Feed, _Background], None], feed: Feed) -> None:
        self.closing = threading.Event()
        self.settled = threading.Event()
        self._socket: socket.socket | None = None
        self.thread = threading.Thread(target=follow, args=(feed, self), name="twinauth-verify", daemon=True)
        self.thread.start()

    def close(self, seconds: float) -> None:
        """End the thread: its connection is shut down, as if the issuer had closed it."""
        self.closing.set()
        if self._socket is not None:
            _shut_down(self._socket)
        self.thread.join(seconds)

    def wait(self, feed: Feed, seconds: float) -> None:
        """Wait between two requests for the feed; callers that wait for the first ones go on."""
        if feed.is_settled:
            self.settled.set()
        self.closing.wait(seconds)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the connection that httpcore reports."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
        if self.closing.is_set():
            raise FetchFailed("closing")


def fetch(client: httpx.Client, request: FetchRequest, *, trace: Any = None) -> Answer:
    """Fetch an answer, within the bounds of the request.

    Raises:
        FetchFailed: the answer cannot be used.
        httpx.HTTPError: there is no answer.

    """
    reader = ResponseReader(request)
    extensions = {} if trace is None else {"trace": trace}
    with client.stream("GET", request.url, extensions=extensions, **request.options()) as response:
        reader.read_head(response)
        for part in response.iter_bytes():
            reader.read_part(part)
    return reader.answer(response)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError):
        return  # the connection has already ended
