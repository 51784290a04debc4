"""Where times and ids come from, so that a test can hold them still, and how durations are told."""

import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """The current time, aware and in UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The current time, aware and in UTC."""
        return datetime.now(UTC)


def whole_seconds(duration: timedelta) -> int:
    """A duration as answers say it: in seconds, never more than it is."""
    return int(duration.total_seconds())


def new_id(at: datetime) -> uuid.UUID:
    """A UUID version 7 (RFC 9562 section 5.7): ordered by time, 74 random bits.

    Ids of one table grow with time, so that an index grows at its end instead of splitting pages everywhere.
    """
    milliseconds = _milliseconds(at)
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)


def first_id(at: datetime) -> uuid.UUID:
    """The smallest id that can have been made at a time: ids of rows before it are smaller."""
    return uuid.UUID(int=_milliseconds(at) << 80)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
