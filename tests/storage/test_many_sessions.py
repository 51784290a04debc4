"""The end of very many sessions of a user: all have ended at once, and few rows are written for it at a time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest

from core.app import build
from core.origin import LOCAL_ORIGIN
from core.sessions import sql
from core.sessions.model import EndReason, Session
from core.sql_store import SqlStore
from core.tokens.model import RevocationKind, hash_of
from tests.support.clock import FakeClock
from tests.support.settings import make_settings
from tests.support.values import NOW, account, session, session_in, stored

LATER = NOW + timedelta(hours=1)
END = NOW + timedelta(minutes=30)
ANN, BOB = account(), account("bob@example.com")


@pytest.fixture
def mine(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Seven sessions, the one used last first, where one statement ends two."""
    monkeypatch.setattr(sql, "MOST_AT_ONCE", 2)
    made = [session(ANN.user.id, last_used_at=NOW - timedelta(minutes=number)) for number in range(7)]
    stored(store, ANN, BOB, *made)
    return made


@pytest.fixture
def woken(store: SqlStore) -> list[str]:
    """What is called after a commit that left something to the housekeeping."""
    found: list[str] = []
    store.on_leftovers(lambda: found.append("woken"))
    return found


def end_all(store: SqlStore, *, keep: uuid.UUID | None = None) -> Sequence[uuid.UUID]:
    with store.begin() as work:
        ended = work.sessions.end_all(ANN.user.id, at=END, reason=EndReason.PASSWORD_RESET, keep=keep)
        work.commit()
    return ended.ids


def is_alive(store: SqlStore, one: Session) -> bool:
    """Whether it lets its user in, is listed, and can be refreshed; one answer for all three."""
    with store.begin() as work:
        answers = {
            work.sessions.principal(one.id, ANN.user.id, now=LATER) is not None,
            one in work.sessions.live_of(ANN.user.id, now=LATER),
            session_in(store, one.id).is_live(LATER),
            work.sessions.advance(one.id, generation=0, at=LATER, idle_expires_at=LATER),
        }
    (answer,) = answers
    return answer


def note_ended(store: SqlStore, limit: int = 100) -> int:
    with store.begin() as work:
        count = work.sessions.end_marked(limit=limit)
        work.commit()
    return count


@pytest.mark.parametrize("kept", [None, 0, 1, 6])
def test_all_but_the_kept_one_are_dead_at_once(store: SqlStore, mine: list[Session], kept: int | None) -> None:
    theirs = session(BOB.user.id)
    stored(store, theirs)
    ended = end_all(store, keep=None if kept is None else mine[kept].id)
    assert len(ended) == 2
    assert [is_alive(store, one) for one in mine] == [number == kept for number in range(7)]
    assert session_in(store, theirs.id) == theirs


def test_one_that_begins_afterwards_lives(store: SqlStore, mine: list[Session]) -> None:
    end_all(store)
    after = session(ANN.user.id, created_at=END)
    stored(store, after)
    assert is_alive(store, after)
    note_ended(store)
    assert is_alive(store, after)
    assert not is_alive(store, mine[6])


def test_the_housekeeping_notes_it_in_their_rows(store: SqlStore, mine: list[Session], woken: list[str]) -> None:
    before = session(ANN.user.id, ended_at=NOW, end_reason=EndReason.LOGOUT)
    stored(store, before)
    end_all(store, keep=mine[3].id)
    assert woken == ["woken"]
    assert [note_ended(store, limit=3), note_ended(store, limit=3), note_ended(store, limit=3)] == [3, 1, 0]
    with store.reading() as read:
        found = {one.id: (one.ended_at, one.end_reason) for one in read.sessions.of(ANN.user.id)}
    assert found.pop(mine[3].id) == (None, None)
    assert found.pop(before.id) == (NOW, EndReason.LOGOUT)
    assert set(found.values()) == {(END, EndReason.PASSWORD_RESET)}
    assert is_alive(store, mine[3])


def test_ended_again_the_kept_one_is_dead_as_well(store: SqlStore, mine: list[Session]) -> None:
    end_all(store, keep=mine[6].id)
    assert end_all(store) == [mine[6].id]
    assert not any(is_alive(store, one) for one in mine)


def test_few_leave_nothing_to_the_housekeeping(store: SqlStore, woken: list[str]) -> None:
    stored(store, ANN, session(ANN.user.id))
    assert len(end_all(store)) == 1
    assert (woken, note_ended(store)) == ([], 0)


def test_verifiers_are_told_of_those_used_last_and_of_all_in_one_entry(store: SqlStore, mine: list[Session]) -> None:
    app = build(make_settings(), store=store, clock=FakeClock(NOW))
    app.sessions.end_all(app.sessions._principal(mine[0].id, ANN.user.id), LOCAL_ORIGIN, keep_current=False)
    with store.begin() as work:
        work.revocations.number(limit=100)
        entries, _ = work.revocations.after(None, now=NOW, limit=100)
    told = {(entry.kind, entry.value_hash, entry.not_before) for entry in entries}
    whole_second = NOW.replace(microsecond=0) + timedelta(seconds=1)
    assert told == {
        (RevocationKind.SESSION, hash_of(str(mine[0].id)), None),
        (RevocationKind.SESSION, hash_of(str(mine[1].id)), None),
        (RevocationKind.SUBJECT, hash_of(str(ANN.user.id)), whole_second),
    }
