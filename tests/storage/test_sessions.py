from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select

from core.sessions.model import EndReason, Session
from core.sessions.sql import sessions
from core.sql_store import SqlStore
from core.users.model import User
from tests.support.values import NOW, TICK, account, session, session_in, stored

LATER = NOW + timedelta(hours=1)
ANN = account()
BOB = account("bob@example.com")


@pytest.fixture
def ann(store: SqlStore) -> User:
    """One of two users, so that what is meant for one is seen to leave the other alone."""
    stored(store, ANN, BOB)
    return ANN.user


def _principal(store: SqlStore, session_id: uuid.UUID, user_id: uuid.UUID, *, now: datetime = NOW) -> User | None:
    with store.reading() as read:
        return read.sessions.principal(session_id, user_id, now=now)


def _live(store: SqlStore, user_id: uuid.UUID, *, now: datetime = NOW) -> list[Session]:
    with store.reading() as read:
        return read.sessions.live_of(user_id, now=now)


def test_a_session_comes_back_as_it_was_stored_with_its_user(store: SqlStore, ann: User) -> None:
    one = session(ann.id, generation=7, seed=b"\x00\xff" * 8, user_agent="🦊/1.0 (Ünïx)", ip="2001:db8::1%eth0")
    stored(store, one)
    with store.reading() as read:
        found = read.sessions.with_user(one.id)
    assert found == (one, ann)
    assert isinstance(found[0].id, uuid.UUID)
    assert isinstance(found[0].user_id, uuid.UUID)
    assert isinstance(found[0].seed, bytes)


def test_an_ended_session_still_comes_with_its_user(store: SqlStore, ann: User) -> None:
    one = session(ann.id, ended_at=LATER)
    stored(store, one)
    with store.reading() as read:
        assert read.sessions.with_user(one.id) == (one, ann)


def test_an_unknown_session_comes_with_nobody(store: SqlStore, ann: User) -> None:
    stored(store, session(ann.id))
    with store.reading() as read:
        assert read.sessions.with_user(uuid.uuid4()) is None


@pytest.mark.parametrize(
    "at",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        datetime(2999, 12, 31, 12, 0, 0, 500000, tzinfo=UTC),
    ],
    ids=str,
)
def test_times_come_back_in_utc_to_the_microsecond(store: SqlStore, ann: User, at: datetime) -> None:
    one = session(ann.id, created_at=at, last_used_at=at, idle_expires_at=at, expires_at=at, ended_at=at)
    stored(store, one)
    found = session_in(store, one.id)
    for time in (found.created_at, found.last_used_at, found.idle_expires_at, found.expires_at, found.ended_at):
        assert time == at
        assert time.tzinfo is UTC


def test_the_highest_generation_of_a_token_can_be_stored(store: SqlStore, ann: User) -> None:
    one = session(ann.id, generation=2**48 - 1)
    stored(store, one)
    assert session_in(store, one.id).generation == 2**48 - 1


# principal


def test_the_principal_of_a_live_session_is_its_user(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert _principal(store, one.id, ann.id) == ann


@pytest.mark.parametrize(
    "ends",
    [{"idle_expires_at": LATER}, {"expires_at": LATER}, {"expires_at": LATER, "idle_expires_at": LATER}],
    ids=["idle", "absolute", "both"],
)
def test_a_principal_is_known_to_the_last_microsecond(store: SqlStore, ann: User, ends: dict[str, datetime]) -> None:
    one = session(ann.id, **ends)
    stored(store, one)
    assert _principal(store, one.id, ann.id, now=LATER - TICK) == ann
    assert _principal(store, one.id, ann.id, now=LATER) is None
    assert _principal(store, one.id, ann.id, now=LATER + TICK) is None


def test_whole_seconds_are_compared_with_microseconds_by_time(store: SqlStore, ann: User) -> None:
    whole = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
    one = session(ann.id, expires_at=whole)
    stored(store, one)
    assert _principal(store, one.id, ann.id, now=whole - TICK) == ann
    assert _principal(store, one.id, ann.id, now=whole) is None
    assert _principal(store, one.id, ann.id, now=whole + TICK) is None


def test_an_ended_session_has_no_principal(store: SqlStore, ann: User) -> None:
    one = session(ann.id, ended_at=NOW - timedelta(days=1))
    stored(store, one)
    assert _principal(store, one.id, ann.id) is None


def test_an_inactive_user_is_no_principal(store: SqlStore) -> None:
    inactive = account(is_active=False)
    one = session(inactive.user.id)
    stored(store, inactive, one)
    assert _principal(store, one.id, inactive.user.id) is None


def test_another_user_is_not_the_principal_of_a_session(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert _principal(store, one.id, BOB.user.id) is None


def test_an_unknown_session_has_no_principal(store: SqlStore, ann: User) -> None:
    stored(store, session(ann.id))
    assert _principal(store, uuid.uuid4(), ann.id) is None


def test_an_unknown_user_is_no_principal(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert _principal(store, one.id, uuid.uuid4()) is None


# advance


def _advance(store: SqlStore, session_id: uuid.UUID, generation: int) -> bool:
    with store.begin() as work:
        advanced = work.sessions.advance(
            session_id, generation=generation, at=LATER, idle_expires_at=LATER + timedelta(days=30)
        )
        work.commit()
    return advanced


def test_a_session_moves_on_from_its_generation(store: SqlStore, ann: User) -> None:
    one, other = session(ann.id, generation=3), session(ann.id, generation=3)
    stored(store, one, other)
    assert _advance(store, one.id, 3)
    moved = session(
        ann.id,
        id=one.id,
        generation=4,
        last_used_at=LATER,
        idle_expires_at=LATER + timedelta(days=30),
    )
    assert session_in(store, one.id) == moved
    assert session_in(store, other.id) == other


@pytest.mark.parametrize("generation", [0, 2, 4, 2**48 - 1])
def test_a_session_does_not_move_from_another_generation(store: SqlStore, ann: User, generation: int) -> None:
    one = session(ann.id, generation=3)
    stored(store, one)
    assert not _advance(store, one.id, generation)
    assert session_in(store, one.id) == one


def test_of_two_moves_from_one_generation_the_second_does_nothing(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert [_advance(store, one.id, 0), _advance(store, one.id, 0)] == [True, False]
    assert session_in(store, one.id).generation == 1


def test_an_ended_session_does_not_move(store: SqlStore, ann: User) -> None:
    one = session(ann.id, ended_at=NOW)
    stored(store, one)
    assert not _advance(store, one.id, 0)
    assert session_in(store, one.id) == one


def test_an_unknown_session_does_not_move(store: SqlStore, ann: User) -> None:
    stored(store, session(ann.id))
    assert not _advance(store, uuid.uuid4(), 0)


# end


def _end(store: SqlStore, session_id: uuid.UUID, user_id: uuid.UUID, *, at: datetime = LATER) -> bool:
    with store.begin() as work:
        ended = work.sessions.end(session_id, user_id=user_id, at=at, reason=EndReason.LOGOUT)
        work.commit()
    return ended


def test_a_live_session_ends(store: SqlStore, ann: User) -> None:
    one, other = session(ann.id), session(ann.id)
    stored(store, one, other)
    assert _end(store, one.id, ann.id)
    assert session_in(store, one.id).ended_at == LATER
    assert session_in(store, other.id) == other


def test_a_session_ends_once(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert _end(store, one.id, ann.id)
    assert not _end(store, one.id, ann.id, at=LATER + timedelta(hours=1))
    assert session_in(store, one.id).ended_at == LATER


def test_nobody_ends_the_session_of_another(store: SqlStore, ann: User) -> None:
    one = session(ann.id)
    stored(store, one)
    assert not _end(store, one.id, BOB.user.id)
    assert session_in(store, one.id) == one


def test_a_session_that_ran_out_is_not_ended(store: SqlStore, ann: User) -> None:
    one = session(ann.id, idle_expires_at=LATER)
    stored(store, one)
    assert not _end(store, one.id, ann.id)
    assert session_in(store, one.id) == one


def test_an_unknown_session_is_not_ended(store: SqlStore, ann: User) -> None:
    stored(store, session(ann.id))
    assert not _end(store, uuid.uuid4(), ann.id)


# end_all


def _end_all(store: SqlStore, user_id: uuid.UUID, *, keep: uuid.UUID | None = None) -> int:
    with store.begin() as work:
        ended = work.sessions.end_all(user_id, at=LATER, reason=EndReason.ENDED_BY_USER, keep=keep)
        work.commit()
    return len(ended.ids)


def test_every_live_session_of_a_user_ends(store: SqlStore, ann: User) -> None:
    mine, theirs = [session(ann.id) for _ in range(3)], session(BOB.user.id)
    stored(store, *mine, theirs)
    assert _end_all(store, ann.id) == 3
    assert {session_in(store, one.id).ended_at for one in mine} == {LATER}
    assert session_in(store, theirs.id) == theirs


def test_one_session_can_be_kept(store: SqlStore, ann: User) -> None:
    kept, *others = mine = [session(ann.id) for _ in range(3)]
    stored(store, *mine)
    assert _end_all(store, ann.id, keep=kept.id) == 2
    assert session_in(store, kept.id) == kept
    assert {session_in(store, one.id).ended_at for one in others} == {LATER}


def test_sessions_that_are_over_are_not_ended_again(store: SqlStore, ann: User) -> None:
    ended, ran_out = session(ann.id, ended_at=NOW), session(ann.id, expires_at=LATER)
    stored(store, ended, ran_out)
    assert _end_all(store, ann.id) == 0
    assert session_in(store, ended.id) == ended
    assert session_in(store, ran_out.id) == ran_out


def test_keeping_the_session_of_another_keeps_none(store: SqlStore, ann: User) -> None:
    mine, theirs = session(ann.id), session(BOB.user.id)
    stored(store, mine, theirs)
    assert _end_all(store, ann.id, keep=theirs.id) == 1
    assert session_in(store, theirs.id) == theirs


# end_surplus


def _end_surplus(store: SqlStore, user_id: uuid.UUID, limit: int) -> int:
    with store.begin() as work:
        ended = work.sessions.end_surplus(user_id, limit=limit, at=LATER)
        work.commit()
    return len(ended)


def _used(user_id: uuid.UUID, minutes_ago: int, **changes: object) -> Session:
    return session(user_id, last_used_at=NOW - timedelta(minutes=minutes_ago), **changes)


@pytest.mark.parametrize("limit", [4, 5, 100])
def test_sessions_within_the_limit_stay(store: SqlStore, ann: User, limit: int) -> None:
    mine = [_used(ann.id, ago) for ago in (1, 2, 3, 4)]
    stored(store, *mine)
    assert _end_surplus(store, ann.id, limit) == 0
    assert len(_live(store, ann.id)) == 4


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_the_sessions_idle_longest_end_until_the_limit_holds(store: SqlStore, ann: User, limit: int) -> None:
    # The order of use is neither that of the logins nor that of the ids.
    mine = [_used(ann.id, ago, created_at=NOW + timedelta(seconds=ago)) for ago in (30, 5, 20, 10)]
    theirs = _used(BOB.user.id, 500)
    stored(store, *mine, theirs)
    assert _end_surplus(store, ann.id, limit) == 4 - limit
    by_use = sorted(mine, key=lambda one: one.last_used_at, reverse=True)
    assert {one.id for one in _live(store, ann.id)} == {one.id for one in by_use[:limit]}
    assert {session_in(store, one.id).ended_at for one in by_use[limit:]} == {LATER}
    assert session_in(store, theirs.id) == theirs


def test_of_sessions_used_at_the_same_moment_the_oldest_end_first(store: SqlStore, ann: User) -> None:
    ids = [uuid.UUID(int=number) for number in (3 << 120, 1, 2 << 64, 0xF << 124)]
    stored(store, *(session(ann.id, id=one) for one in ids))
    assert _end_surplus(store, ann.id, 2) == 2
    assert {one.id for one in _live(store, ann.id)} == {uuid.UUID(int=3 << 120), uuid.UUID(int=0xF << 124)}


def test_sessions_that_are_over_do_not_count_for_the_limit(store: SqlStore, ann: User) -> None:
    over = [_used(ann.id, 1, ended_at=NOW), _used(ann.id, 2, expires_at=LATER), _used(ann.id, 3, idle_expires_at=LATER)]
    live = [_used(ann.id, 10), _used(ann.id, 20)]
    stored(store, *over, *live)
    assert _end_surplus(store, ann.id, 2) == 0
    assert [session_in(store, one.id) for one in (*over, *live)] == [*over, *live]


# live_of


def test_live_sessions_come_newest_first(store: SqlStore, ann: User) -> None:
    mine = [session(ann.id, created_at=NOW + timedelta(seconds=at)) for at in (2, 4, 1, 3)]
    stored(store, *mine, session(BOB.user.id))
    assert _live(store, ann.id) == sorted(mine, key=lambda one: one.created_at, reverse=True)


def test_live_sessions_of_one_moment_come_in_the_reverse_order_of_their_ids(store: SqlStore, ann: User) -> None:
    mine = [session(ann.id, id=uuid.UUID(int=number)) for number in (3 << 120, 1, 2 << 64, 0xF << 124)]
    stored(store, *mine)
    assert _live(store, ann.id) == sorted(mine, key=lambda one: one.id, reverse=True)


@pytest.mark.parametrize(
    "over", [{"ended_at": NOW}, {"expires_at": LATER}, {"idle_expires_at": LATER}], ids=["ended", "absolute", "idle"]
)
def test_a_session_that_is_over_is_not_among_the_live(store: SqlStore, ann: User, over: dict[str, datetime]) -> None:
    one = session(ann.id)
    stored(store, one, session(ann.id, **over))
    assert _live(store, ann.id, now=LATER) == [one]


def test_a_user_without_sessions_has_none_live(store: SqlStore, ann: User) -> None:
    assert _live(store, ann.id) == []
    assert _live(store, uuid.uuid4()) == []


# what only SQL keeps


@pytest.mark.parametrize("reason", list(EndReason))
def test_the_reason_of_an_end_is_kept(store: SqlStore, reason: EndReason) -> None:
    one, rest = session(ANN.user.id), session(ANN.user.id)
    stored(store, ANN, one, rest)
    with store.begin() as work:
        work.sessions.end(one.id, user_id=ANN.user.id, at=LATER, reason=reason)
        work.sessions.end_all(ANN.user.id, at=LATER, reason=reason)
        work.commit()
    with store.engine.connect() as connection:
        assert set(connection.scalars(select(sessions.c.end_reason))) == {reason.value}


def test_a_surplus_session_ended_because_of_the_limit(store: SqlStore) -> None:
    stored(store, ANN, session(ANN.user.id))
    assert _end_surplus(store, ANN.user.id, 0) == 1
    with store.engine.connect() as connection:
        assert connection.scalar(select(sessions.c.end_reason)) == EndReason.SESSION_LIMIT.value


def test_a_time_of_another_zone_is_stored_as_the_same_instant(store: SqlStore) -> None:
    abroad = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    one = session(ANN.user.id, last_used_at=abroad)
    stored(store, ANN, one)
    found = session_in(store, one.id).last_used_at
    assert found == NOW
    assert found.tzinfo is UTC
