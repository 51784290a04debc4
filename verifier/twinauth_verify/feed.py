"""Following the issuer's feed of revocations: what to ask, what to believe, when to ask again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from twinauth_verify.fetching import MAX_FEED, Answer, FetchFailed, Question
from twinauth_verify.jws import Jws, payload_of, read_jws, types_of
from twinauth_verify.keys import Key
from twinauth_verify.revocations import Revocations, read_revocation
from twinauth_verify.settings import Settings
from twinauth_verify.strict_json import seconds, text

TYPES = types_of("revocations+jwt")
MEDIA_TYPE = "application/jwt"
# Between two tries, and so the longest that a working issuer is not heard: revocations are to arrive within 5 s.
MAX_PAUSE = 2.0
FIRST_PAUSE = 0.1
# An issuer at which too many wait answers at once that there is nothing.
IDLE_PAUSE = 1.0
NEWS_PAUSE = 0.1

_log = logging.getLogger("twinauth_verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question for the feed, and when it was asked."""

    question: Question
    since: str | None
    at: float
    """By the clock, as the answer says its time."""
    timer: float
    """By the timer, to tell how long the answer took."""


class Feed:
    """The state of following: the cursor, how many tries failed, and when the last good answer came."""

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
        self._heard_at: float | None = None
        self._failures = 0

    @property
    def is_stale(self) -> bool:
        """Whether what is known may be too old to let anybody in: fail closed."""
        return self._heard_at is None or self._timer() - self._heard_at > self._settings.stale_after

    @property
    def is_settled(self) -> bool:
        """Whether the first tries are over: everything is known, or the last try failed."""
        return self._caught_up or self._failures > 0

    def resume(self) -> None:
        """Begin anew where following was interrupted: the next question is what was missed meanwhile."""
        self._caught_up, self._failures = False, 0

    def ask(self) -> Asked:
        """The next question. The issuer is asked to wait with its answer only if nothing may have been missed."""
        wait = self._settings.feed_wait if self._caught_up and not self._failures else 0
        parameters = {} if self._cursor is None else {"since": self._cursor}
        if wait:
            parameters["wait"] = str(wait)
        question = Question(
            url=self._settings.feed_url,
            accept=MEDIA_TYPE,
            max_bytes=MAX_FEED,
            seconds=wait + self._settings.timeout,
            parameters=parameters,
        )
        return Asked(question=question, since=self._cursor, at=self._clock(), timer=time.monotonic())

    def read(self, answer: Answer) -> Jws:
        """Read the header of an answer, which tells its key.

        Raises:
            ValueError: it is not an answer of a feed.

        """
        if answer.media_type != MEDIA_TYPE:
            raise ValueError("of another media type")
        return read_jws(answer.body.decode("ascii"), types=TYPES, max_characters=MAX_FEED)

    def accept(self, asked: Asked, jws: Jws, key: Key | None) -> float:
        """Believe an answer, and say how long to pause before the next question.

        Raises:
            ValueError: it is not the issuer's answer to this question.

        """
        if key is None:
            raise ValueError("of a key that the issuer does not have")
        message = payload_of(jws, key)
        self._check_origin(asked, message)
        cursor, entries = text(message, "cursor"), message.get("revocations")
        if not isinstance(entries, list):
            raise ValueError("no revocations")  # noqa: TRY004 - callers know one error
        self.revocations.add([found for entry in entries if (found := read_revocation(entry)) is not None])
        self.revocations.forget_expired()
        return self._heard(asked, cursor, is_empty=not entries)

    def failed(self, error: Exception) -> float:
        """Note that a try failed, and say how long to pause before the next one."""
        # An answer that refuses the question may refuse its cursor; without one everything is told anew.
        if isinstance(error, FetchFailed) and _is_refusal(error.status):
            self._cursor, self._caught_up = None, False
        self._failures += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "The revocations could not be fetched: %s: %s", type(error).__name__, error)
        # Jitter, so that a fleet does not come back at one moment to an issuer that was away.
        pause: float = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
        return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def _check_origin(self, asked: Asked, message: dict[str, object]) -> None:
        """An answer to another question, or an old one, would hide what was revoked since."""
        issued_at, skew = seconds(message, "iat"), self._settings.clock_skew
        if text(message, "iss") != self._settings.issuer:
            raise ValueError("of another issuer")
        if "since" not in message or message["since"] != asked.since:
            raise ValueError("to another question")
        # `iat` is a whole second: it may be the one in which the question was asked.
        if not int(asked.at) - skew <= issued_at <= self._clock() + skew:
            raise ValueError("of another time")

    def _heard(self, asked: Asked, cursor: str, *, is_empty: bool) -> float:
        if self._failures:
            _log.warning("The revocations are followed again after %d tries", self._failures)
        self._cursor, self._failures = cursor, 0
        self._caught_up = self._caught_up or is_empty
        if not self._caught_up:
            return 0.0  # the issuer tells a thousand at once; who knows half of them knows nothing yet
        self._heard_at = self._timer()
        waited_for_nothing = is_empty and "wait" in asked.question.parameters
        pause = IDLE_PAUSE if waited_for_nothing else NEWS_PAUSE
        return max(0.0, pause - (time.monotonic() - asked.timer))


def _is_refusal(status: int) -> bool:
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return refused and status not in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
