"""The outbox over every store: what is due, who has it, and what becomes of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from core.clock import new_id
from core.mail.model import FURTHEST_DUE, MAX_ERROR, Message, MessageKind
from core.mail.sql import outbox
from core.sql_store import SqlStore
from core.store import UnitOfWork
from tests.support.values import NOW, TICK, account, message, message_in, messages_in, stored

LEASE = timedelta(minutes=2)
LATER = NOW + timedelta(hours=1, microseconds=7)
SINCE = NOW - timedelta(hours=1)


def _do(store: SqlStore, action: Callable[[UnitOfWork], object]) -> None:
    with store.begin() as work:
        action(work)
        work.commit()


def _claim(store: SqlStore, now: datetime = NOW) -> Message | None:
    with store.begin() as work:
        claimed = work.outbox.claim(now=now, lease=LEASE)
        work.commit()
    return claimed


def _claimed(store: SqlStore, now: datetime = NOW) -> Message:
    claimed = _claim(store, now)
    assert claimed is not None
    return claimed


def _is_due(store: SqlStore, now: datetime) -> bool:
    with store.reading() as read:
        return read.outbox.is_due(now=now)


def _aged(seconds: float, **changes: Any) -> Message:
    """A message that was stored, and is due, so many seconds after the first."""
    at = NOW + timedelta(seconds=seconds)
    values: dict[str, Any] = {"id": new_id(at), "created_at": at, "due_at": at}
    return message(**values | changes)


# Storing


@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_message_of_every_kind_comes_back_as_it_was_stored(store: SqlStore, kind: MessageKind) -> None:
    ann = account()
    facts = {"ip": "2001:db8::7", "request_id": "Größe \N{FOX FACE} %s {}"}
    one = message(
        kind, user_id=ann.user.id, canonical_email="x" * 330, address="Ann@exämple.com", facts=facts, due_at=LATER
    )
    stored(store, ann, one)
    with store.reading() as read:
        (found,) = read.outbox.of(ann.user.id)
    assert found == one
    assert isinstance(found.seed, bytes)
    assert found.due_at is not None
    assert found.due_at.tzinfo is UTC


def test_a_message_needs_no_user(store: SqlStore) -> None:
    one = message(canonical_email="nobody@example.com", languages="", facts={})
    stored(store, one)
    assert messages_in(store) == [one]
    assert _claimed(store).canonical_email == "nobody@example.com"


def test_the_messages_of_a_user_come_oldest_first_and_no_others(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    mine = [_aged(seconds, user_id=ann.user.id) for seconds in range(3)]
    stored(store, ann, bob, *reversed(mine), message(user_id=bob.user.id), message())
    with store.reading() as read:
        assert read.outbox.of(ann.user.id) == mine
        assert read.outbox.of(uuid.uuid4()) == []


def test_the_messages_of_a_user_are_also_those_that_only_name_the_address(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    mine = [
        _aged(0, user_id=ann.user.id, canonical_email="ann@example.com"),
        _aged(1, canonical_email="ann@example.com"),
        _aged(2, user_id=ann.user.id),
        _aged(3, canonical_email="ann@example.com", due_at=None, dead_at=LATER),
    ]
    others = [message(user_id=bob.user.id), message(canonical_email="bob@example.com"), message()]
    stored(store, ann, bob, *reversed(mine), *others)
    with store.reading() as read:
        assert read.outbox.of(ann.user.id) == mine


def test_a_removed_message_is_forgotten_and_no_other(store: SqlStore) -> None:
    one, other = message(), message()
    stored(store, one, other)
    _do(store, lambda work: work.outbox.remove(one.id))
    _do(store, lambda work: work.outbox.remove(one.id))
    assert messages_in(store) == [other]


def test_the_messages_of_a_kind_to_a_user_are_cancelled_wherever_they_wait_and_no_others(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    change = MessageKind.EMAIL_CHANGE
    stored(store, ann, bob)
    cancelled = [
        message(change, user_id=ann.user.id),
        message(change, user_id=ann.user.id, due_at=LATER, attempts=3),
        message(change, user_id=ann.user.id, due_at=None, dead_at=NOW),
    ]
    kept = [
        message(change, user_id=ann.user.id, due_at=None, sent_at=NOW),
        message(change, user_id=bob.user.id),
        message(MessageKind.EMAIL_CHANGE_REQUESTED, user_id=ann.user.id),
        message(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com"),
    ]
    stored(store, *cancelled, *kept)
    _do(store, lambda work: work.outbox.cancel(ann.user.id, change))
    assert {found.id for found in messages_in(store)} == {one.id for one in kept}


def test_a_message_that_names_the_address_of_a_user_is_on_its_way_to_that_user(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    reset = MessageKind.PASSWORD_RESET
    cancelled = [
        message(reset, canonical_email="ann@example.com"),
        message(reset, canonical_email="ann@example.com", due_at=None, dead_at=NOW),
        message(reset, canonical_email="ann@example.com", user_id=ann.user.id, due_at=LATER, attempts=3),
    ]
    kept = [
        message(reset, canonical_email="bob@example.com"),
        message(MessageKind.SIGNUP_ATTEMPTED, canonical_email="ann@example.com"),
        message(reset, user_id=ann.user.id, due_at=None, sent_at=NOW),
    ]
    stored(store, ann, bob, *cancelled, *kept)
    _do(store, lambda work: work.outbox.cancel(ann.user.id, reset))
    assert {found.id for found in messages_in(store)} == {one.id for one in kept}


def test_the_messages_that_name_an_address_are_forgotten_and_no_others(store: SqlStore) -> None:
    ann = account()
    reset = MessageKind.PASSWORD_RESET
    forgotten = [
        message(reset, canonical_email="ann@example.com"),
        message(MessageKind.SIGNUP_ATTEMPTED, canonical_email="ann@example.com", due_at=LATER, attempts=2),
        message(reset, canonical_email="ann@example.com", due_at=None, dead_at=NOW),
    ]
    kept = [
        message(reset, canonical_email="ANN@example.com"),
        message(reset, canonical_email="bob@example.com"),
        message(user_id=ann.user.id, address="ann@example.com"),
    ]
    stored(store, ann, *forgotten, *kept)
    _do(store, lambda work: work.outbox.forget_address("ann@example.com"))
    assert {found.id for found in messages_in(store)} == {one.id for one in kept}


# Claiming


def test_nothing_is_due_in_an_empty_outbox(store: SqlStore) -> None:
    assert not _is_due(store, NOW)
    assert _claim(store) is None


def test_a_message_is_due_at_its_moment_and_not_before(store: SqlStore) -> None:
    stored(store, message())
    assert not _is_due(store, NOW - TICK)
    assert _claim(store, NOW - TICK) is None
    assert _is_due(store, NOW)
    assert _is_due(store, LATER)
    assert _claim(store) is not None


@pytest.mark.parametrize("wrong_at", [NOW + FURTHEST_DUE + TICK, NOW + timedelta(days=4000)])
def test_a_message_of_a_clock_that_was_ahead_is_due_at_once(store: SqlStore, wrong_at: datetime) -> None:
    """Stored, taken or postponed while the clock was wrong: it would wait until that time."""
    stored(store, message(due_at=wrong_at))
    assert _is_due(store, NOW)
    assert _claimed(store).due_at == NOW + LEASE
    assert _claim(store) is None


def test_the_longest_delay_is_waited_for_though_another_clock_is_a_little_ahead(store: SqlStore) -> None:
    stored(store, message(due_at=NOW + FURTHEST_DUE))
    assert not _is_due(store, NOW)
    assert _claim(store) is None


def test_asking_whether_something_is_due_takes_nothing(store: SqlStore) -> None:
    stored(store, message())
    assert _is_due(store, NOW)
    assert _claimed(store).attempts == 1


def test_what_is_due_longest_is_claimed_first_whatever_is_older(store: SqlStore) -> None:
    retried = _aged(0, due_at=NOW + timedelta(seconds=5), attempts=1)
    first, second = _aged(2), _aged(3)
    stored(store, retried, second, first)
    claimed = [_claimed(store, LATER).id for _ in range(3)]
    assert claimed == [first.id, second.id, retried.id]
    assert _claim(store, LATER) is None


def test_of_what_is_due_at_one_moment_the_oldest_is_claimed_first(store: SqlStore) -> None:
    messages = [_aged(seconds, due_at=NOW) for seconds in range(4)]
    stored(store, *reversed(messages))
    assert [_claimed(store).id for _ in messages] == [one.id for one in messages]


def test_a_claim_gives_the_message_counts_the_attempt_and_begins_the_lease(store: SqlStore) -> None:
    ann = account()
    one = message(MessageKind.EMAIL_CHANGE, user_id=ann.user.id, address="anna@example.com", attempts=3)
    stored(store, ann, one)
    claimed = _claimed(store)
    assert claimed == replace(one, attempts=4, due_at=NOW + LEASE)
    assert message_in(store, one.id) == claimed


def test_a_claimed_message_is_due_again_when_its_lease_ends_and_not_before(store: SqlStore) -> None:
    stored(store, message())
    first = _claimed(store)
    assert not _is_due(store, NOW + LEASE - TICK)
    assert _claim(store, NOW + LEASE - TICK) is None
    second = _claimed(store, NOW + LEASE)
    assert (second.id, second.attempts) == (first.id, 2)


def test_a_claim_that_is_not_committed_took_nothing(store: SqlStore) -> None:
    stored(store, message())
    with store.begin() as work:
        assert work.outbox.claim(now=NOW, lease=LEASE) is not None
    assert _claimed(store).attempts == 1


def test_a_message_that_another_process_is_just_taking_is_passed_over(postgres_store: SqlStore) -> None:
    first, second = _aged(0), _aged(1)
    stored(postgres_store, first, second)
    with postgres_store.begin() as one, postgres_store.begin() as two, postgres_store.begin() as three:
        claimed = [work.outbox.claim(now=LATER, lease=LEASE) for work in (one, two, three)]
        one.commit()
        two.commit()
    assert [found and found.id for found in claimed] == [first.id, second.id, None]


def test_eight_that_claim_at_once_share_the_messages_out(store: SqlStore) -> None:
    messages = [_aged(number) for number in range(40)]
    stored(store, *messages)

    def claim_all(_number: int) -> list[uuid.UUID]:
        claimed = []
        while (one := _claim(store, LATER)) is not None:
            claimed.append(one.id)
        return claimed

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(claim_all, range(8)))
    assert sorted(found for share in shares for found in share) == [one.id for one in messages]
    assert {found.attempts for found in messages_in(store)} == {1}


# Preparing, and how many were


def _prepared(
    store: SqlStore, *, at: datetime, kind: MessageKind = MessageKind.PASSWORD_RESET, user_id: uuid.UUID
) -> Message:
    one = message(kind, id=new_id(at), created_at=at, due_at=at)
    stored(store, one)
    _do(store, lambda work: work.outbox.prepare(one.id, user_id=user_id, at=at))
    return one


def _count(store: SqlStore, user_id: uuid.UUID, excluding: uuid.UUID | None = None) -> int:
    with store.reading() as read:
        return read.outbox.prepared_since(
            user_id, MessageKind.PASSWORD_RESET, since=SINCE, until=LATER, excluding=excluding or uuid.uuid4()
        )


def test_a_prepared_message_belongs_to_the_user_it_was_found_to_be_for(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    one = _prepared(store, at=NOW, user_id=ann.user.id)
    assert message_in(store, one.id) == replace(one, user_id=ann.user.id, prepared_at=NOW)
    with store.begin() as work:
        assert work.outbox.prepare(one.id, user_id=ann.user.id, at=LATER), "once more"
        work.commit()
    assert message_in(store, one.id).prepared_at == NOW


def test_messages_that_were_not_prepared_do_not_count(store: SqlStore) -> None:
    ann = account()
    stored(store, ann, message(MessageKind.PASSWORD_RESET, user_id=ann.user.id))
    assert _count(store, ann.user.id) == 0


def test_prepared_messages_of_this_user_and_kind_count_but_for_the_one_in_hand(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(store, ann, bob)
    mine = [_prepared(store, at=NOW, user_id=ann.user.id) for _ in range(3)]
    _prepared(store, at=NOW, user_id=bob.user.id)
    _prepared(store, at=NOW, user_id=ann.user.id, kind=MessageKind.EMAIL_VERIFICATION)
    assert _count(store, ann.user.id) == 3
    assert _count(store, ann.user.id, excluding=mine[1].id) == 2


def test_messages_count_from_the_moment_on_after_the_one_that_is_asked_for(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    _prepared(store, at=SINCE, user_id=ann.user.id)
    assert _count(store, ann.user.id) == 0
    _prepared(store, at=SINCE + TICK, user_id=ann.user.id)
    assert _count(store, ann.user.id) == 1


def test_a_message_counts_from_when_it_was_prepared_for_the_first_time(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    one = _prepared(store, at=SINCE, user_id=ann.user.id)
    _do(store, lambda work: work.outbox.prepare(one.id, user_id=ann.user.id, at=NOW))
    assert _count(store, ann.user.id) == 0


def test_a_message_counts_after_it_was_sent_given_up_and_revived(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    _prepared(store, at=NOW, user_id=ann.user.id)
    _prepared(store, at=NOW, user_id=ann.user.id)
    sent, given_up = _claimed(store), _claimed(store)
    _do(store, lambda work: work.outbox.finish(sent, at=NOW))
    _do(store, lambda work: work.outbox.give_up(given_up, at=NOW, error="no"))
    assert _count(store, ann.user.id) == 2
    _do(store, lambda work: work.outbox.retry(None, at=NOW))
    assert _count(store, ann.user.id) == 2


def test_preparing_a_message_that_is_gone_does_nothing(store: SqlStore) -> None:
    """A faster attempt may have found that it is not to be sent."""
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert not work.outbox.prepare(uuid.uuid4(), user_id=ann.user.id, at=NOW)
        work.commit()
    assert messages_in(store) == []
    assert _count(store, ann.user.id) == 0


# How an attempt ends


def test_a_sent_message_keeps_nothing_personal_and_is_never_due_again(store: SqlStore) -> None:
    ann = account()
    one = message(
        MessageKind.EMAIL_CHANGE,
        user_id=ann.user.id,
        canonical_email="ann@example.com",
        address="anna@example.com",
        attempts=2,
        last_error="SMTPServerDisconnected",
    )
    stored(store, ann, one)
    _do(store, lambda work: work.outbox.finish(_claim_in(work), at=LATER))
    found = message_in(store, one.id)
    assert found == replace(
        one,
        canonical_email=None,
        address=None,
        facts={},
        seed=b"",
        due_at=None,
        attempts=3,
        sent_at=LATER,
        last_error=None,
    )
    assert not _is_due(store, LATER + timedelta(days=999))


def _claim_in(work: UnitOfWork) -> Message:
    claimed = work.outbox.claim(now=NOW, lease=LEASE)
    assert claimed is not None
    return claimed


def test_a_postponed_message_is_due_when_it_was_said_to_be(store: SqlStore) -> None:
    one = message(address="anna@example.com")
    stored(store, one)
    _do(store, lambda work: work.outbox.postpone(_claim_in(work), due_at=LATER, error="message refused: 451"))
    assert message_in(store, one.id) == replace(one, due_at=LATER, attempts=1, last_error="message refused: 451")
    assert _claim(store, LATER - TICK) is None
    again = _claimed(store, LATER)
    assert (again.id, again.attempts, again.address, again.seed) == (one.id, 2, "anna@example.com", one.seed)


def test_a_message_that_is_given_up_is_never_due_again_and_keeps_what_another_try_needs(store: SqlStore) -> None:
    one = message(address="anna@example.com")
    stored(store, one)
    _do(store, lambda work: work.outbox.give_up(_claim_in(work), at=LATER, error="recipient refused: 550"))
    dead = replace(one, due_at=None, attempts=1, dead_at=LATER, last_error="recipient refused: 550")
    assert messages_in(store) == [dead]
    with store.reading() as read:
        assert read.outbox.failed() == [dead]
    assert not _is_due(store, LATER + timedelta(days=999))


@pytest.mark.parametrize("ending", ["postpone", "bury"])
def test_a_long_error_is_cut(store: SqlStore, ending: str) -> None:
    """PostgreSQL would refuse it, and the message would never come to an end."""
    stored(store, message())
    claimed, error = _claimed(store), "ü" * 5000
    if ending == "bury":
        _do(store, lambda work: work.outbox.give_up(claimed, at=NOW, error=error))
    else:
        _do(store, lambda work: work.outbox.postpone(claimed, due_at=LATER, error=error))
    assert message_in(store, claimed.id).last_error == "ü" * MAX_ERROR


ENDINGS: dict[str, Callable[[UnitOfWork, Message], None]] = {
    "finish": lambda work, claimed: work.outbox.finish(claimed, at=LATER),
    "postpone": lambda work, claimed: work.outbox.postpone(claimed, due_at=LATER, error="late"),
    "bury": lambda work, claimed: work.outbox.give_up(claimed, at=LATER, error="late"),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_attempt_that_outlived_its_lease_has_nothing_to_say(
    store: SqlStore, ending: Callable[[UnitOfWork, Message], None]
) -> None:
    stored(store, message())
    slow = _claimed(store)
    current = _claimed(store, NOW + LEASE)
    _do(store, lambda work: ending(work, slow))
    assert messages_in(store) == [current]


@pytest.mark.parametrize("last", ENDINGS)
@pytest.mark.parametrize("late", ENDINGS)
def test_an_attempt_that_outlived_its_lease_cannot_undo_what_the_next_one_did(
    store: SqlStore, last: str, late: str
) -> None:
    stored(store, message())
    slow = _claimed(store)
    current = _claimed(store, NOW + LEASE)
    _do(store, lambda work: ENDINGS[last](work, current))
    before = messages_in(store)
    _do(store, lambda work: ENDINGS[late](work, slow))
    assert messages_in(store) == before


@pytest.mark.parametrize("late", ["postpone", "bury"])
def test_a_sent_message_stays_sent(store: SqlStore, late: str) -> None:
    stored(store, message())
    claimed = _claimed(store)
    _do(store, lambda work: work.outbox.finish(claimed, at=NOW))
    before = messages_in(store)
    _do(store, lambda work: ENDINGS[late](work, claimed))
    assert messages_in(store) == before


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_an_attempt_whose_message_is_gone_ends_quietly(
    store: SqlStore, ending: Callable[[UnitOfWork, Message], None]
) -> None:
    stored(store, message())
    claimed = _claimed(store)
    _do(store, lambda work: work.outbox.remove(claimed.id))
    _do(store, lambda work: ending(work, claimed))
    assert messages_in(store) == []


# Dead letters


def _dead(seconds: float) -> Message:
    at = NOW + timedelta(seconds=seconds)
    return message(due_at=None, dead_at=at, attempts=12, last_error="no")


def test_dead_letters_come_in_the_order_in_which_they_were_given_up(store: SqlStore) -> None:
    dead = [_dead(seconds) for seconds in range(4)]
    stored(store, *reversed(dead), message(), message(due_at=None, sent_at=NOW))
    with store.reading() as read:
        assert read.outbox.failed() == dead


def test_a_revived_message_begins_anew(store: SqlStore) -> None:
    one, other = _dead(0), _dead(1)
    stored(store, one, other)
    with store.begin() as work:
        assert work.outbox.retry(one.id, at=LATER) == 1
        work.commit()
    assert message_in(store, one.id) == replace(one, dead_at=None, due_at=LATER, attempts=0)
    assert message_in(store, other.id) == other
    assert _claimed(store, LATER).attempts == 1


def test_all_dead_letters_are_revived_at_once(store: SqlStore) -> None:
    waiting, sent = message(attempts=2, due_at=LATER), message(due_at=None, sent_at=NOW)
    stored(store, _dead(0), _dead(1), waiting, sent)
    with store.begin() as work:
        assert work.outbox.retry(None, at=NOW) == 2
        assert work.outbox.failed() == []
        assert work.outbox.retry(None, at=NOW) == 0
        work.commit()
    assert message_in(store, waiting.id) == waiting
    assert message_in(store, sent.id) == sent


def test_only_what_was_given_up_can_be_revived(store: SqlStore) -> None:
    waiting, sent = message(attempts=2, due_at=LATER), message(due_at=None, sent_at=NOW)
    stored(store, waiting, sent)
    with store.begin() as work:
        for message_id in (waiting.id, sent.id, uuid.uuid4()):
            assert work.outbox.retry(message_id, at=NOW) == 0
        work.commit()
    assert messages_in(store) == sorted((waiting, sent), key=lambda found: found.id)


# Purging


def test_what_was_sent_or_given_up_long_enough_ago_is_purged(store: SqlStore) -> None:
    sent_before, dead_before = NOW + timedelta(days=1), NOW + timedelta(days=2)
    kept = [
        message(),
        message(due_at=LATER, attempts=3, last_error="no"),
        message(due_at=None, sent_at=sent_before),
        message(due_at=None, dead_at=dead_before),
        message(due_at=None, dead_at=dead_before + TICK),
    ]
    old = [
        message(due_at=None, sent_at=sent_before - TICK),
        message(due_at=None, dead_at=dead_before - TICK),
        message(due_at=None, dead_at=sent_before),
    ]
    stored(store, *kept, *old)
    with store.begin() as work:
        assert work.outbox.purge(sent_before=sent_before, dead_before=dead_before, limit=100) == len(old)
        work.commit()
    assert {found.id for found in messages_in(store)} == {found.id for found in kept}


def test_a_purge_takes_no_more_than_its_limit(store: SqlStore) -> None:
    stored(store, *(message(due_at=None, sent_at=NOW) for _ in range(5)), message())

    def purge() -> int:
        with store.begin() as work:
            count = work.outbox.purge(sent_before=LATER, dead_before=LATER, limit=2)
            work.commit()
        return count

    assert [purge() for _ in range(4)] == [2, 2, 1, 0]
    assert len(messages_in(store)) == 1


def test_a_message_of_the_longest_values_fits(store: SqlStore) -> None:
    """PostgreSQL refuses what is longer than its column."""
    one = message(canonical_email="x" * 330, address="x" * 254, languages="x" * 100, last_error="x" * MAX_ERROR)
    stored(store, one)
    with store.engine.connect() as connection:
        assert connection.scalar(select(outbox.c.canonical_email)) == "x" * 330
