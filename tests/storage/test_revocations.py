from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from core.clock import new_id
from core.sql_store import SqlStore
from core.tokens.errors import UnknownCursor
from core.tokens.model import Cursor, Revocation, RevocationKind, hash_of
from core.tokens.sql import revocation_feed, revocations
from tests.support.values import NOW

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)


def entry(
    value: str,
    *,
    kind: RevocationKind = RevocationKind.SESSION,
    not_before: datetime | None = None,
    ends: timedelta = HOUR,
) -> Revocation:
    return Revocation(
        id=new_id(NOW), kind=kind, value_hash=hash_of(value), not_before=not_before, expires_at=NOW + ends
    )


def add(store: SqlStore, *entries: Revocation) -> None:
    with store.begin() as work:
        work.revocations.add(entries)
        work.commit()


def number(store: SqlStore, *, limit: int = 100) -> int:
    with store.begin() as work:
        count = work.revocations.number(limit=limit)
        work.commit()
    return count


def behind(
    store: SqlStore, cursor: Cursor | None, *, late: timedelta = timedelta(0), limit: int = 100
) -> tuple[set[str], Cursor | None]:
    with store.reading() as read:
        found, last = read.revocations.after(cursor, now=NOW + late, limit=limit)
    return {one.value_hash for one in found}, last


def place(store: SqlStore, number: int) -> Cursor:
    """The cursor behind an entry."""
    with store.engine.connect() as connection:
        (entry_id,) = connection.scalars(select(revocations.c.id).where(revocations.c.number == number))
    return Cursor.behind(number, entry_id)


def after(store: SqlStore, number: int, *, late: timedelta = timedelta(0), limit: int = 100) -> tuple[set[str], int]:
    """The entries behind that number, and the last number."""
    cursor = place(store, number) if number else None
    found, last = behind(store, cursor, late=late, limit=limit)
    return found, last.number if last else 0


def test_nothing_is_given_out_before_it_has_a_number(store: SqlStore) -> None:
    add(store, entry("a"), entry("b"))
    assert after(store, 0) == (set(), 0)
    with store.reading() as read:
        assert read.revocations.has_unnumbered()
    assert number(store) == 2
    with store.reading() as read:
        assert not read.revocations.has_unnumbered()
    assert after(store, 0) == ({hash_of("a"), hash_of("b")}, 2)


def test_the_newest_is_the_last_that_has_a_number_also_after_the_database_was_set_back(store: SqlStore) -> None:
    def newest() -> Cursor | None:
        with store.reading() as read:
            return read.revocations.newest()

    assert newest() is None
    add(store, entry("a"), entry("b"))
    assert newest() is None
    number(store)
    assert newest() == place(store, 2) == behind(store, None)[1]
    earlier = newest()
    with store.engine.begin() as connection:
        connection.execute(delete(revocations))
        connection.execute(update(revocation_feed).values(head=1))
    add(store, entry("c"))
    number(store)
    assert newest() == place(store, 2)
    assert newest() != earlier


def test_an_entry_comes_back_as_it_was_stored(store: SqlStore) -> None:
    one = entry("client", kind=RevocationKind.SUBJECT, not_before=NOW)
    add(store, one)
    number(store)
    with store.reading() as read:
        assert read.revocations.after(None, now=NOW, limit=1) == ([one], Cursor.behind(1, one.id))


def test_numbers_go_on_where_they_ended(store: SqlStore) -> None:
    add(store, entry("a"))
    number(store)
    add(store, entry("b"))
    assert number(store) == 1
    assert after(store, 1) == ({hash_of("b")}, 2)
    assert number(store) == 0


def test_what_comes_late_is_never_passed_over(store: SqlStore) -> None:
    """An entry with an older id, from a transaction that took longer, still gets a newer number."""
    late = entry("late")
    add(store, entry("early"))
    number(store)
    _, cursor = after(store, 0)
    add(store, late)
    number(store)
    assert after(store, cursor)[0] == {hash_of("late")}


def test_as_many_are_numbered_and_given_as_are_asked_for(store: SqlStore) -> None:
    add(store, *(entry(str(one)) for one in range(5)))
    assert [number(store, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert after(store, 1, limit=3)[1] == 4


def test_an_entry_leaves_when_no_token_can_outlive_it(store: SqlStore) -> None:
    add(store, entry("a"))
    number(store)
    assert after(store, 0, late=HOUR - TICK)[1] == 1
    assert after(store, 0, late=HOUR) == (set(), 0)


ISSUED = NOW.replace(microsecond=0)
SECOND = timedelta(seconds=1)


def revokes(
    store: SqlStore, *, token_id: str = "a", subject: str = "ann", issued_at: datetime = ISSUED, now: datetime = NOW
) -> bool:
    with store.reading() as read:
        return read.revocations.revokes(token_id=token_id, subject=subject, issued_at=issued_at, now=now)


def test_a_token_is_revoked_by_its_id_while_the_entry_is_in_force(store: SqlStore) -> None:
    add(store, entry("a", kind=RevocationKind.TOKEN))
    assert revokes(store)
    assert revokes(store, issued_at=ISSUED + HOUR, now=NOW + HOUR - TICK)
    assert not revokes(store, token_id="b")
    assert not revokes(store, now=NOW + HOUR)


def test_a_token_is_revoked_by_its_subject_where_it_was_issued_before_the_time_of_the_entry(store: SqlStore) -> None:
    add(store, entry("ann", kind=RevocationKind.SUBJECT, not_before=ISSUED))
    assert revokes(store, issued_at=ISSUED - SECOND)
    assert not revokes(store, issued_at=ISSUED)
    assert not revokes(store, issued_at=ISSUED - SECOND, subject="ben")
    assert not revokes(store, issued_at=ISSUED - SECOND, now=NOW + HOUR)


@pytest.mark.parametrize("later_first", [False, True])
def test_of_two_entries_of_a_subject_the_one_that_revokes_more_counts(store: SqlStore, *, later_first: bool) -> None:
    times = sorted([ISSUED, ISSUED + SECOND], reverse=later_first)
    add(store, *(entry("ann", kind=RevocationKind.SUBJECT, not_before=time) for time in times))
    assert revokes(store, issued_at=ISSUED)
    assert not revokes(store, issued_at=ISSUED + SECOND)


def test_an_entry_says_nothing_of_what_it_does_not_speak_of(store: SqlStore) -> None:
    add(
        store,
        entry("ann", kind=RevocationKind.TOKEN),
        entry("a", kind=RevocationKind.SUBJECT, not_before=ISSUED + HOUR),
        entry("a"),
        entry("ann"),
    )
    assert not revokes(store)


def test_expired_entries_are_purged_in_batches(store: SqlStore) -> None:
    add(store, *(entry(str(one), ends=TICK) for one in range(3)))
    number(store)
    add(store, entry("kept"))
    number(store)
    with store.begin() as work:
        assert [work.revocations.purge(now=NOW + TICK, limit=2) for _ in range(3)] == [2, 1, 0]
        work.commit()
    assert after(store, 0)[0] == {hash_of("kept")}
    add(store, entry("next"))
    number(store)
    assert after(store, 4) == ({hash_of("next")}, 5)


def test_many_processes_number_every_entry_once(store: SqlStore) -> None:
    add(store, *(entry(str(one)) for one in range(200)))
    counts: list[int] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(10)
        while count := number(store, limit=10):
            counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(counts) == 200
    with store.reading() as read:
        found, last = read.revocations.after(None, now=NOW, limit=1000)
    assert last is not None
    assert (len(found), last.number) == (200, 200)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_cursor_of_a_database_that_was_set_back_is_unknown(store: SqlStore, lost: int) -> None:
    """Its number is free, or has been given to another entry, or there are more of them than before."""
    add(store, *(entry(str(one)) for one in range(3)))
    number(store)
    cursor = place(store, 3)
    with store.engine.begin() as connection:
        connection.execute(delete(revocations).where(revocations.c.number > 3 - lost))
        connection.execute(update(revocation_feed).values(head=3 - lost))
    for _ in range(lost + 2):
        with pytest.raises(UnknownCursor):
            behind(store, cursor)
        add(store, entry("after the failover"))
        number(store)


def test_a_cursor_whose_entry_has_expired_is_good_until_it_is_purged(store: SqlStore) -> None:
    add(store, entry("a", ends=TICK))
    number(store)
    add(store, entry("b"))
    number(store)
    cursor = place(store, 1)
    assert behind(store, cursor, late=TICK) == ({hash_of("b")}, place(store, 2))
    with store.begin() as work:
        work.revocations.purge(now=NOW + TICK, limit=1)
        work.commit()
    with pytest.raises(UnknownCursor):
        behind(store, cursor)
