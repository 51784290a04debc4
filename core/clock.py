"""The clock, which a test can stop; times that a wrong clock has stored; whole seconds; ids that grow with time."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

# The clocks of the processes differ by less. A stored time that is further ahead was stored by a clock that was wrong,
# such as that of a machine that was resumed, and must not hold anything back until it comes.
CLOCK_SKEW = timedelta(minutes=5)
LONG_AGO = timedelta(days=36500)


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return datetime.now(UTC)


def elapsed(since: datetime, now: datetime) -> timedelta:
    """Return the time since a stored moment: zero if it is a little ahead, ages if a wrong clock has stored it."""
    if since > now + CLOCK_SKEW:
        return LONG_AGO
    return max(now - since, timedelta(0))


def whole_seconds(duration: timedelta) -> int:
    """Return a duration in whole seconds, rounded down, as answers show it."""
    return int(duration.total_seconds())


def next_second(at: datetime) -> datetime:
    """Return the next whole second: `iat` of a token is one, so one of this second was issued before or after now."""
    return at.replace(microsecond=0) + timedelta(seconds=1)


def new_id(at: datetime) -> uuid.UUID:
    """Make a UUID version 7 (RFC 9562 section 5.7): ordered by time, with 74 random bits.

    The ids of a table grow with time, so that its indexes grow at their end instead of splitting pages everywhere.
    """
    milliseconds = _milliseconds(at)
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)


def first_id(at: datetime) -> uuid.UUID:
    """Return the smallest id of a time: the ids of earlier rows are smaller."""
    return uuid.UUID(int=_milliseconds(at) << 80)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
