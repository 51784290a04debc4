from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.sql_store import SqlStore
from core.store import UnitOfWork
from core.tokens.errors import KeyNumberTakenError
from core.tokens.model import SigningKey
from tests.support.values import (
    NOW,
    account,
    account_in,
    audit_event,
    email_token,
    events_in,
    key,
    message,
    messages_in,
    session,
    stored,
)


class InterruptedWorkError(Exception):
    pass


def test_committed_work_is_there_for_the_next(store: SqlStore) -> None:
    ann = account()
    login = session(ann.user.id)
    signing_key, event = key(), audit_event()
    with store.begin() as work:
        work.users.add(ann, canonical_email="ann@example.com")
        work.sessions.add(login)
        work.keys.add(signing_key)
        work.audit.add(event)
        work.commit()
    with store.begin() as work:
        assert work.users.by_id(ann.user.id) == ann
        assert work.sessions.with_user(login.id) == (login, ann.user)
        assert work.keys.all() == [signing_key]
    assert events_in(store) == [event]


def _touch_everything(work: UnitOfWork) -> None:
    bob = account("bob@example.com")
    work.users.add(bob, canonical_email="bob@example.com")
    work.sessions.add(session(bob.user.id))
    work.keys.add(key())
    work.audit.add(audit_event())
    work.outbox.add(message(user_id=bob.user.id))
    work.one_time_tokens.save(email_token(bob.user.id))


def _assert_untouched(store: SqlStore) -> None:
    with store.reading() as read:
        assert read.users.by_email("bob@example.com") is None
        assert read.keys.all() == []
        assert not read.outbox.is_due(now=NOW)
    assert events_in(store) == []
    assert messages_in(store) == []


def test_leaving_without_a_commit_undoes_everything(store: SqlStore) -> None:
    with store.begin() as work:
        _touch_everything(work)
    _assert_untouched(store)


def test_an_exception_undoes_everything_and_passes_through(store: SqlStore) -> None:
    def interrupted() -> None:
        with store.begin() as work:
            _touch_everything(work)
            raise InterruptedWorkError

    with pytest.raises(InterruptedWorkError):
        interrupted()
    _assert_untouched(store)


def test_what_follows_the_last_commit_is_undone(store: SqlStore) -> None:
    with store.begin() as work:
        work.users.add(account(), canonical_email="ann@example.com")
        work.commit()
        _touch_everything(work)
    _assert_untouched(store)
    with store.reading() as read:
        assert read.users.by_email("ann@example.com") is not None


def test_an_exception_after_a_commit_leaves_what_was_committed(store: SqlStore) -> None:
    def interrupted() -> None:
        with store.begin() as work:
            work.audit.add(audit_event())
            work.commit()
            raise InterruptedWorkError

    with pytest.raises(InterruptedWorkError):
        interrupted()
    assert len(events_in(store)) == 1


def test_work_may_be_committed_in_steps(store: SqlStore) -> None:
    with store.begin() as work:
        work.keys.add(key(1))
        work.commit()
        work.keys.add(key(2))
        work.commit()
    with store.reading() as read:
        assert [found.number for found in read.keys.all()] == [1, 2]


def test_work_sees_its_own_changes_before_the_commit(store: SqlStore) -> None:
    ann = account()
    with store.begin() as work:
        work.users.add(ann, canonical_email="ann@example.com")
        assert work.users.by_email("ann@example.com") == ann
        work.users.replace_password(ann.user.id, old_hash=ann.password_hash, new_hash="new", at=ann.user.updated_at)
        found = work.users.by_id(ann.user.id)
        assert found is not None
        assert found.password_hash == "new"


def test_nobody_else_sees_changes_before_the_commit(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        work.users.set_display_name(ann.user.id, "Anna", at=ann.user.updated_at)
        assert account_in(store, ann.user.id).user.display_name == "Ann"
        work.commit()
        assert account_in(store, ann.user.id).user.display_name == "Anna"


def test_reading_sees_what_is_committed_between_its_statements(store: SqlStore) -> None:
    ann = account()
    with store.reading() as before:
        assert before.users.by_id(ann.user.id) is None
    stored(store, ann)
    with store.reading() as after:
        assert after.users.by_id(ann.user.id) == ann


def test_an_exception_passes_through_reading(store: SqlStore) -> None:
    def interrupted() -> None:
        with store.reading() as read:
            read.keys.all()
            raise InterruptedWorkError

    with pytest.raises(InterruptedWorkError):
        interrupted()


def test_two_that_add_one_to_a_number_both_count(store: SqlStore) -> None:
    """Two units of work that read first and write later do not lose each other's work."""
    start = threading.Barrier(2)

    def add_next() -> SigningKey:
        start.wait(10)
        with store.begin() as work:
            added = key(len(work.keys.all()) + 1, kid=f"of-{threading.get_ident()}")
            work.keys.add(added)
            work.commit()
        return added

    outcomes = _outcomes(add_next)
    with store.reading() as read:
        assert sorted(read.keys.all(), key=lambda found: found.kid) == sorted(outcomes, key=lambda found: found.kid)


def _outcomes(add_next: Callable[[], SigningKey]) -> list[SigningKey]:
    """What was added; who lost the race for a number was told so and added nothing."""

    def outcome() -> list[SigningKey]:
        try:
            return [add_next()]
        except KeyNumberTakenError:
            return []

    with ThreadPoolExecutor(2) as pool:
        return [added for future in [pool.submit(outcome), pool.submit(outcome)] for added in future.result(10)]


def test_a_ready_store_passes_its_check(store: SqlStore) -> None:
    store.check()


def test_a_hundred_units_of_work_hold_nothing(store: SqlStore) -> None:
    for number in range(100):
        with store.begin() as work:
            work.audit.add(audit_event())
            if number % 2:
                work.commit()
        with store.reading() as read:
            read.keys.all()
    assert len(events_in(store)) == 50
