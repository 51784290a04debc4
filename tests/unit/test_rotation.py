"""What a refresh token that is presented deserves: the whole decision as one table."""

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from core.sessions.model import Rotation, Session, rotate
from tests.support.clock import START

GRACE = timedelta(seconds=10)
NO_GRACE = timedelta(0)
CURRENT = 5
PREDECESSOR = 4
LAST_USE = START
TICK = timedelta(microseconds=1)

SESSION = Session(
    id=uuid.UUID(int=1),
    user_id=uuid.UUID(int=2),
    seed=bytes(16),
    generation=CURRENT,
    created_at=START - timedelta(days=1),
    last_used_at=LAST_USE,
    idle_expires_at=LAST_USE + timedelta(days=30),
    expires_at=START + timedelta(days=89),
    ended_at=None,
    user_agent="",
    ip="",
)
FIRST = replace(SESSION, generation=0, created_at=START)
ENDED = replace(SESSION, ended_at=START)
# Used so late that its absolute end comes before its idle end.
LATE = replace(SESSION, idle_expires_at=START + timedelta(days=100))


@pytest.mark.parametrize(
    ("session", "presented", "after", "grace", "expected"),
    [
        pytest.param(SESSION, CURRENT, timedelta(0), GRACE, Rotation.ADVANCE, id="current at once"),
        pytest.param(SESSION, CURRENT, timedelta(days=29), GRACE, Rotation.ADVANCE, id="current much later"),
        pytest.param(SESSION, CURRENT, timedelta(0), NO_GRACE, Rotation.ADVANCE, id="current without any grace"),
        pytest.param(FIRST, 0, timedelta(0), GRACE, Rotation.ADVANCE, id="first token of a login"),
        pytest.param(SESSION, PREDECESSOR, timedelta(0), GRACE, Rotation.REPEAT, id="predecessor at once"),
        pytest.param(SESSION, PREDECESSOR, GRACE - TICK, GRACE, Rotation.REPEAT, id="predecessor in the grace"),
        pytest.param(SESSION, PREDECESSOR, GRACE, GRACE, Rotation.REUSE, id="predecessor as the grace ends"),
        pytest.param(SESSION, PREDECESSOR, GRACE + TICK, GRACE, Rotation.REUSE, id="predecessor after the grace"),
        pytest.param(SESSION, PREDECESSOR, timedelta(days=29), GRACE, Rotation.REUSE, id="predecessor much later"),
        pytest.param(SESSION, PREDECESSOR, timedelta(0), NO_GRACE, Rotation.REUSE, id="predecessor without any grace"),
        pytest.param(SESSION, 3, timedelta(0), GRACE, Rotation.REUSE, id="one older, in the grace"),
        pytest.param(SESSION, 3, GRACE, GRACE, Rotation.REUSE, id="one older, after the grace"),
        pytest.param(SESSION, 0, timedelta(0), GRACE, Rotation.REUSE, id="the very first, long replaced"),
        pytest.param(SESSION, CURRENT + 1, timedelta(0), GRACE, Rotation.REFUSE, id="one that is not made yet"),
        pytest.param(SESSION, 2**48 - 1, timedelta(0), GRACE, Rotation.REFUSE, id="the last that can be"),
        pytest.param(ENDED, CURRENT, timedelta(0), GRACE, Rotation.REFUSE, id="ended: current"),
        pytest.param(ENDED, PREDECESSOR, timedelta(0), GRACE, Rotation.REFUSE, id="ended: predecessor"),
        pytest.param(ENDED, 0, timedelta(0), GRACE, Rotation.REFUSE, id="ended: an old one ends nothing more"),
        pytest.param(SESSION, CURRENT, timedelta(days=30) - TICK, GRACE, Rotation.ADVANCE, id="before idle end"),
        pytest.param(SESSION, CURRENT, timedelta(days=30), GRACE, Rotation.REFUSE, id="at the idle end"),
        pytest.param(SESSION, PREDECESSOR, timedelta(days=30), GRACE, Rotation.REFUSE, id="idle end: predecessor"),
        pytest.param(LATE, CURRENT, timedelta(days=89) - TICK, GRACE, Rotation.ADVANCE, id="before absolute end"),
        pytest.param(LATE, CURRENT, timedelta(days=89), GRACE, Rotation.REFUSE, id="at the absolute end"),
        pytest.param(LATE, CURRENT, timedelta(days=90), GRACE, Rotation.REFUSE, id="after the absolute end"),
        # Another replica's clock may be a little behind the one that rotated: that is a race like any other.
        pytest.param(SESSION, CURRENT, timedelta(hours=-1), GRACE, Rotation.ADVANCE, id="clock back: current"),
        pytest.param(SESSION, PREDECESSOR, timedelta(seconds=-1), GRACE, Rotation.REPEAT, id="clock back a second"),
        pytest.param(SESSION, 3, timedelta(seconds=-1), GRACE, Rotation.REUSE, id="clock back: one older"),
        # But a clock that went back must not stretch the grace, least of all where there is none.
        pytest.param(SESSION, PREDECESSOR, timedelta(hours=-1), GRACE, Rotation.REUSE, id="clock back an hour"),
        pytest.param(SESSION, PREDECESSOR, timedelta(seconds=-1), NO_GRACE, Rotation.REUSE, id="clock back, no grace"),
    ],
)
def test_a_presented_generation_gets_what_it_deserves(
    session: Session, presented: int, after: timedelta, grace: timedelta, expected: Rotation
) -> None:
    assert rotate(session, presented, now=LAST_USE + after, grace=grace) is expected


@pytest.mark.parametrize(
    ("idle", "absolute", "expected"),
    [(1, 2, 1), (2, 1, 1), (1, 1, 1)],
    ids=["idle end first", "absolute end first", "both at once"],
)
def test_a_session_ends_at_the_earlier_of_its_ends(idle: int, absolute: int, expected: int) -> None:
    session = replace(
        SESSION, idle_expires_at=START + timedelta(days=idle), expires_at=START + timedelta(days=absolute)
    )
    assert session.ends_at == START + timedelta(days=expected)
    assert session.is_live(START + timedelta(days=expected) - TICK)
    assert not session.is_live(START + timedelta(days=expected))


def test_the_seed_of_a_session_is_not_in_its_repr() -> None:
    assert repr(replace(SESSION, seed=b"canary-of-16-byt")).find("canary") == -1
