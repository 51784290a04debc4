"""How many letters an address is sent that nobody has proved to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from core.clock import CLOCK_SKEW
from core.mail.recipient_limit import LIMIT_WINDOW, with_letter
from core.throttling.model import Counter
from tests.support.clock import START

LIFE = timedelta(minutes=15)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Case:
    """So many letters, the last of them some time ago; what one more makes of them, of a limit of five."""

    count: int
    ago: timedelta
    missed_after: timedelta | None = None
    becomes: int | None


CASES = {
    "the first": Case(count=0, ago=timedelta(0), becomes=1),
    "the last that is free": Case(count=4, ago=timedelta(0), becomes=5),
    "one too many": Case(count=5, ago=timedelta(0), becomes=None),
    "nearly an hour after the last": Case(count=5, ago=LIMIT_WINDOW - TICK, becomes=None),
    "an hour after the last": Case(count=5, ago=LIMIT_WINDOW, becomes=1),
    "an hour after one of few": Case(count=2, ago=LIMIT_WINDOW, becomes=1),
    "less than an hour after one of few": Case(count=2, ago=LIMIT_WINDOW - TICK, becomes=3),
    "a link that is missed at once": Case(count=5, ago=timedelta(0), missed_after=LIFE, becomes=None),
    "a link that is missed too early": Case(count=5, ago=LIFE - TICK, missed_after=LIFE, becomes=None),
    "a link that is missed": Case(count=5, ago=LIFE, missed_after=LIFE, becomes=6),
    "a link that is missed again": Case(count=6, ago=LIFE, missed_after=LIFE, becomes=7),
    "a link that lives for longer than an hour": Case(
        count=5, ago=LIMIT_WINDOW, missed_after=24 * LIMIT_WINDOW, becomes=1
    ),
    "a clock that was set back": Case(count=5, ago=-CLOCK_SKEW, missed_after=LIFE, becomes=None),
    "a letter of a clock that was ahead": Case(count=5, ago=-CLOCK_SKEW - TICK, becomes=1),
    "a limit that was lowered": Case(count=9, ago=timedelta(0), becomes=None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_letter_is_counted_or_is_one_too_many(case: Case) -> None:
    before = Counter(count=case.count, at=START)
    now = START + case.ago
    after = with_letter(before, now, limit=5, missed_after=case.missed_after)
    assert after == (None if case.becomes is None else Counter(count=case.becomes, at=now))


def test_in_no_hour_are_there_more_than_the_limit() -> None:
    sent = []
    counter = Counter(count=0, at=START)
    for minute in range(0, 24 * 60, 7):
        now = START + timedelta(minutes=minute)
        if (counted := with_letter(counter, now, limit=5, missed_after=None)) is not None:
            counter = counted
            sent.append(now)
    assert max(sum(at <= other < at + LIMIT_WINDOW for other in sent) for at in sent) == 5
    assert len(sent) > 24 * 60 // 100 * 5 * 0.9
