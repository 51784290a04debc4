"""Following the issuer's feed of revocations: the next request, the checks of its answer, the wait until the next."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from twinauth_verify.fetching import MAX_FEED, Answer, FetchFailed, FetchRequest
from twinauth_verify.jws import Jws, payload_of, read_jws, types_of
from twinauth_verify.keys import Key
from twinauth_verify.revocations import Revocations, read_revocation
from twinauth_verify.settings import Settings
from twinauth_verify.strict_json import seconds, text

TYPES = types_of("revocations+jwt")
MEDIA_TYPE = "application/jwt"
# The longest wait after a failed request. An issuer that works again is noticed in time: revocations take at most 5 s.
MAX_BACKOFF = 2.0
FIRST_BACKOFF = 0.1
# An issuer with too many waiting requests answers "nothing new" at once.
IDLE_INTERVAL = 1.0
NEWS_INTERVAL = 0.1

_log = logging.getLogger("twinauth_verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedRequest:
    """One request for the feed, and when it was sent."""

    fetch: FetchRequest
    since: str | None
    sent_at: float
    """By the clock, to be compared with the time in the answer."""
    started: float
    """By the monotonic timer, to measure how long the answer took."""


class Feed:
    """The state of the follower: the cursor, the number of failed requests, the time of the last good answer."""

    def __init__(
        self,
        settings: Settings,
        revocations: Revocations,
        *,
        clock: Callable[[], float],
        timer: Callable[[], float],
    ) -> None:
        self.revocations = revocations
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._cursor: str | None = None
        self._caught_up = False
        self._last_success: float | None = None
        self._failures = 0

    @property
    def is_stale(self) -> bool:
        """Whether the revocations may be too old to accept any token: fail closed."""
        return self._last_success is None or self._timer() - self._last_success > self._settings.stale_after

    @property
    def is_settled(self) -> bool:
        """Whether the first requests are over: all revocations are known, or the last request failed."""
        return self._caught_up or self._failures > 0

    def resume(self) -> None:
        """Go on after an interruption: the next request fetches the revocations since then, without a wait."""
        self._caught_up, self._failures = False, 0

    def next_request(self) -> FeedRequest:
        """Return the next request: a long poll, except where revocations may have been missed."""
        wait = self._settings.feed_wait if self._caught_up and not self._failures else 0
        parameters = {} if self._cursor is None else {"since": self._cursor}
        if wait:
            parameters["wait"] = str(wait)
        fetch = FetchRequest(
            url=self._settings.feed_url,
            accept=MEDIA_TYPE,
            max_bytes=MAX_FEED,
            seconds=wait + self._settings.timeout,
            parameters=parameters,
        )
        return FeedRequest(fetch=fetch, since=self._cursor, sent_at=self._clock(), started=time.monotonic())

    def read(self, answer: Answer) -> Jws:
        """Read the header of an answer, which names its key.

        Raises:
            ValueError: the answer has not the form of a feed's.

        """
        if answer.media_type != MEDIA_TYPE:
            raise ValueError("of another media type")
        return read_jws(answer.body.decode("ascii"), types=TYPES, max_characters=MAX_FEED)

    def accept(self, request: FeedRequest, jws: Jws, key: Key | None) -> float:
        """Verify an answer, add its revocations, and return the seconds to wait before the next request.

        Raises:
            ValueError: it is not the issuer's answer to this request.

        """
        if key is None:
            raise ValueError("of a key that the issuer does not have")
        message = payload_of(jws, key)
        self._check_origin(request, message)
        cursor, entries = text(message, "cursor"), message.get("revocations")
        if not isinstance(entries, list):
            raise ValueError("no revocations")  # noqa: TRY004 - callers know one error
        self.revocations.add([found for entry in entries if (found := read_revocation(entry)) is not None])
        self.revocations.forget_expired()
        return self._record_success(request, cursor, is_empty=not entries)

    def record_failure(self, error: Exception) -> float:
        """Count a failed request, and return the seconds to wait before the next one."""
        # The issuer may have refused the cursor: its entry has expired, or its database was set back. A request without
        # one fetches all revocations again.
        if self._cursor is not None and isinstance(error, FetchFailed) and _is_refusal(error.status):
            self._cursor, self._caught_up = None, False
            return FIRST_BACKOFF
        self._failures += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "The revocations could not be fetched: %s: %s", type(error).__name__, error)
        # Jitter, so that a fleet of verifiers does not return at one moment to an issuer that was away.
        backoff: float = min(MAX_BACKOFF, FIRST_BACKOFF * 2 ** min(self._failures, 10))
        return backoff * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _check_origin(self, request: FeedRequest, message: dict[str, object]) -> None:
        """Refuse an answer to another request, and an old one: they would hide later revocations."""
        issued_at, skew = seconds(message, "iat"), self._settings.clock_skew
        if text(message, "iss") != self._settings.issuer:
            raise ValueError("of another issuer")
        if "since" not in message or message["since"] != request.since:
            raise ValueError("to another request")
        # `iat` is a whole second: it may be the one in which the request was sent.
        if not int(request.sent_at) - skew <= issued_at <= self._clock() + skew:
            raise ValueError("of another time")

    def _record_success(self, request: FeedRequest, cursor: str, *, is_empty: bool) -> float:
        if self._failures:
            _log.warning("The revocations are followed again after %d tries", self._failures)
        self._cursor, self._failures = cursor, 0
        self._caught_up = self._caught_up or is_empty
        if not self._caught_up:
            return 0.0  # an answer has at most a thousand revocations; the rest comes with the next requests
        self._last_success = self._timer()
        waited_for_nothing = is_empty and "wait" in request.fetch.parameters
        interval = IDLE_INTERVAL if waited_for_nothing else NEWS_INTERVAL
        return max(0.0, interval - (time.monotonic() - request.started))


def _is_refusal(status: int) -> bool:
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return refused and status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
