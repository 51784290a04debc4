"""The clock, which a test can stop; whole seconds; ids that grow with time."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol


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


def whole_seconds(duration: timedelta) -> int:
    """Return a duration in whole seconds, rounded down, as answers show it."""
    return int(duration.total_seconds())


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
