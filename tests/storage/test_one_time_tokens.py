"""The tokens in links over every store: which one works, once, and until when."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.clock import new_id
from core.mail.model import REVOCABLE, OneTimeToken, Purpose
from core.sql_store import SqlStore
from core.users.model import Account
from tests.support.values import NOW, TICK, account, email_token, message, stored, tokens_of

EXPIRY = NOW + timedelta(minutes=15)


@pytest.fixture
def ann(store: SqlStore) -> Account:
    made = account()
    stored(store, made)
    return made


def _find(
    store: SqlStore, token: OneTimeToken, purposes: Sequence[Purpose] = tuple(Purpose), now: datetime = NOW
) -> OneTimeToken | None:
    with store.reading() as read:
        return read.one_time_tokens.find(token.digest, purposes, now=now)


def _use(store: SqlStore, token_id: uuid.UUID, at: datetime = NOW) -> bool:
    with store.begin() as work:
        used = work.one_time_tokens.use(token_id, at=at)
        work.commit()
    return used


def _aged(user_id: uuid.UUID, seconds: float, purpose: Purpose = Purpose.PASSWORD_RESET) -> OneTimeToken:
    return email_token(user_id, purpose, id=new_id(NOW + timedelta(seconds=seconds)))


# Finding


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_token_of_every_purpose_is_found_by_its_digest(store: SqlStore, ann: Account, purpose: Purpose) -> None:
    token = email_token(ann.user.id, purpose, address="Anna@exämple.com")
    stored(store, token, email_token(ann.user.id, purpose))
    found = _find(store, token)
    assert found == token
    assert isinstance(found.purpose, Purpose)
    assert isinstance(found.digest, bytes)
    assert found.expires_at.tzinfo is UTC


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_token_of_one_purpose_is_none_of_another(store: SqlStore, ann: Account, purpose: Purpose) -> None:
    token = email_token(ann.user.id, purpose)
    stored(store, token)
    assert _find(store, token, [purpose]) == token
    assert _find(store, token, [other for other in Purpose if other is not purpose]) is None


def test_an_unknown_digest_finds_nothing(store: SqlStore, ann: Account) -> None:
    token = email_token(ann.user.id)
    stored(store, token)
    for digest in (bytes(32), token.digest[:31], token.digest + b"\x00", b""):
        assert _find(store, replace(token, digest=digest)) is None


def test_a_token_is_found_until_it_expires_and_not_then(store: SqlStore, ann: Account) -> None:
    token = email_token(ann.user.id, expires_at=EXPIRY)
    stored(store, token)
    assert _find(store, token, now=EXPIRY - TICK) == token
    assert _find(store, token, now=EXPIRY) is None


def test_a_token_that_has_ended_is_not_found_by_its_digest_and_by_the_id_of_its_message(
    store: SqlStore, ann: Account
) -> None:
    token = email_token(ann.user.id, ended_at=NOW)
    stored(store, token)
    with store.reading() as read:
        assert read.one_time_tokens.by_id(token.id) == token
        assert read.one_time_tokens.by_id(uuid.uuid4()) is None
    assert _find(store, token) is None


# Storing anew


def test_a_token_of_the_same_message_takes_the_place_of_the_first(store: SqlStore, ann: Account) -> None:
    first = email_token(ann.user.id, ended_at=NOW)
    second = replace(first, digest=b"\x01" * 32, expires_at=EXPIRY + TICK, ended_at=None)
    other = email_token(ann.user.id)
    stored(store, first, other, second)
    assert _find(store, first) is None
    assert _find(store, second) == second
    assert _find(store, other) == other
    assert len(tokens_of(store, ann.user.id)) == 2


# The latest


def test_the_latest_is_the_one_of_the_newest_message_ended_or_not(store: SqlStore, ann: Account) -> None:
    oldest, middle, newest = (_aged(ann.user.id, seconds) for seconds in range(3))
    stored(store, middle, newest, oldest)
    with store.begin() as work:
        assert work.one_time_tokens.latest(ann.user.id, Purpose.PASSWORD_RESET, until=NOW + timedelta(days=1)) == newest
        work.one_time_tokens.use(newest.id, at=NOW)
        ended = work.one_time_tokens.latest(ann.user.id, Purpose.PASSWORD_RESET, until=NOW + timedelta(days=1))
    assert ended == replace(newest, ended_at=NOW, used_at=NOW, address="")


def test_the_latest_is_of_this_user_and_purpose(store: SqlStore, ann: Account) -> None:
    bob = account("bob@example.com")
    mine = _aged(ann.user.id, 0)
    stored(store, bob, mine, _aged(ann.user.id, 1, Purpose.EMAIL_CHANGE), _aged(bob.user.id, 2))
    with store.reading() as read:
        assert read.one_time_tokens.latest(ann.user.id, Purpose.PASSWORD_RESET, until=NOW + timedelta(days=1)) == mine
        assert (
            read.one_time_tokens.latest(ann.user.id, Purpose.EMAIL_VERIFICATION, until=NOW + timedelta(days=1)) is None
        )


def test_the_tokens_of_a_user_come_oldest_first_and_no_others(store: SqlStore, ann: Account) -> None:
    bob = account("bob@example.com")
    mine = [_aged(ann.user.id, seconds, purpose) for seconds, purpose in enumerate(Purpose)]
    stored(store, bob, *reversed(mine), email_token(bob.user.id))
    assert tokens_of(store, ann.user.id) == mine
    assert tokens_of(store, uuid.uuid4()) == []


# Using


def test_a_token_is_used_once(store: SqlStore, ann: Account) -> None:
    token, other = email_token(ann.user.id), email_token(ann.user.id)
    stored(store, token, other)
    assert _use(store, token.id)
    assert not _use(store, token.id, NOW + TICK)
    assert _find(store, token) is None
    used = replace(token, ended_at=NOW, used_at=NOW, address="")
    with store.reading() as read:
        assert read.one_time_tokens.by_id(token.id) == used
        assert read.one_time_tokens.find(token.digest, [token.purpose], now=NOW, or_used=True) == used
        assert read.one_time_tokens.find(token.digest, [token.purpose], now=token.expires_at, or_used=True) is None
    assert _find(store, other) == other


def test_what_undoes_a_change_of_address_ends_by_its_name_alone_and_not_before_a_later_one(
    store: SqlStore, ann: Account
) -> None:
    """Whoever took the account over could end it otherwise."""
    undo = Purpose.EMAIL_CHANGE_UNDO
    first, second, third = (_aged(ann.user.id, seconds, undo) for seconds in range(3))
    stored(store, first, second, third)
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW)
        work.commit()
    assert [_find(store, token) for token in (first, second, third)] == [first, second, third]
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW, purposes=[undo], after=second.id)
        work.commit()
    assert [_find(store, token) for token in (first, second, third)] == [first, second, None]


def test_a_used_token_is_found_until_all_of_its_user_end(store: SqlStore, ann: Account) -> None:
    token, kept = email_token(ann.user.id), email_token(ann.user.id)
    stored(store, token, kept)
    assert _use(store, token.id)
    assert _use(store, kept.id)
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW + TICK, keep=kept.id)
        work.commit()
    with store.reading() as read:
        assert read.one_time_tokens.find(token.digest, [token.purpose], now=NOW, or_used=True) is None
        assert read.one_time_tokens.find(kept.digest, [kept.purpose], now=NOW, or_used=True) is not None
        assert read.one_time_tokens.by_id(token.id) == replace(token, ended_at=NOW, address="")


def test_a_token_is_used_until_it_expires_and_not_then(store: SqlStore, ann: Account) -> None:
    early, late = (email_token(ann.user.id, expires_at=EXPIRY) for _ in range(2))
    stored(store, early, late)
    assert _use(store, early.id, EXPIRY - TICK)
    assert not _use(store, late.id, EXPIRY)
    assert _find(store, late) == late, "what is refused is not burnt"


def test_an_unknown_token_is_not_used(store: SqlStore) -> None:
    assert not _use(store, uuid.uuid4())


def test_a_use_that_is_not_committed_did_not_happen(store: SqlStore, ann: Account) -> None:
    token = email_token(ann.user.id)
    stored(store, token)
    with store.begin() as work:
        assert work.one_time_tokens.use(token.id, at=NOW)
        assert not work.one_time_tokens.use(token.id, at=NOW)
    assert _use(store, token.id)


def test_of_sixteen_that_use_a_token_at_once_one_has_used_it(store: SqlStore) -> None:
    ann = account()
    token = email_token(ann.user.id)
    stored(store, ann, token)
    with ThreadPoolExecutor(16) as pool:
        used = list(pool.map(lambda _number: _use(store, token.id), range(16)))
    assert sorted(used) == [False] * 15 + [True]


# Ending


def test_the_tokens_of_a_purpose_end_and_no_others(store: SqlStore, ann: Account) -> None:
    bob = account("bob@example.com")
    mine = {purpose: email_token(ann.user.id, purpose) for purpose in Purpose}
    theirs = email_token(bob.user.id)
    stored(store, bob, *mine.values(), theirs)
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW, purposes=[Purpose.PASSWORD_RESET])
        work.commit()
    alive = {purpose for purpose, token in mine.items() if _find(store, token)}
    assert alive == set(Purpose) - {Purpose.PASSWORD_RESET}
    assert _find(store, theirs) == theirs


def test_all_tokens_of_a_user_end_and_those_of_others_go_on(store: SqlStore, ann: Account) -> None:
    bob = account("bob@example.com")
    mine = [email_token(ann.user.id, purpose) for purpose in REVOCABLE]
    theirs = email_token(bob.user.id)
    stored(store, bob, *mine, theirs)
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW)
        work.commit()
    assert {(found.ended_at, found.address) for found in tokens_of(store, ann.user.id)} == {(NOW, "")}
    assert not any(_find(store, token) or _use(store, token.id) for token in mine)
    assert _find(store, theirs) == theirs


def test_a_token_ended_when_it_ended_first(store: SqlStore, ann: Account) -> None:
    token = email_token(ann.user.id, ended_at=NOW)
    stored(store, token)
    with store.begin() as work:
        work.one_time_tokens.end_all(ann.user.id, at=NOW + timedelta(hours=1))
        work.commit()
    assert tokens_of(store, ann.user.id) == [token]


# Purging


def _purge(store: SqlStore, now: datetime, limit: int = 100) -> int:
    with store.begin() as work:
        count = work.one_time_tokens.purge(now=now, limit=limit)
        work.commit()
    return count


def test_what_has_expired_is_purged_used_or_not(store: SqlStore, ann: Account) -> None:
    kept = [
        email_token(ann.user.id, expires_at=EXPIRY + TICK),
        email_token(ann.user.id, expires_at=EXPIRY + TICK, ended_at=NOW),
    ]
    old = [email_token(ann.user.id, expires_at=EXPIRY), email_token(ann.user.id, expires_at=EXPIRY, ended_at=NOW)]
    stored(store, *kept, *old)
    assert _purge(store, EXPIRY) == 2
    assert {found.id for found in tokens_of(store, ann.user.id)} == {found.id for found in kept}


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"due_at": NOW}, True),
        ({"due_at": None, "dead_at": NOW}, True),
        ({"due_at": None, "sent_at": NOW}, False),
    ],
    ids=["waits", "was given up", "was sent"],
)
def test_a_token_is_kept_while_a_message_to_its_user_may_be_sent(
    store: SqlStore, ann: Account, changes: dict[str, Any], *, is_kept: bool
) -> None:
    """Or that message would bring back to life what was used or replaced."""
    bob = account("bob@example.com")
    mine, theirs = email_token(ann.user.id), email_token(bob.user.id)
    stored(store, bob, mine, theirs, message(id=mine.id, user_id=ann.user.id, **changes))
    assert _purge(store, EXPIRY) == (1 if is_kept else 2)
    assert tokens_of(store, ann.user.id) == ([mine] if is_kept else [])
    assert tokens_of(store, bob.user.id) == []


def test_a_purge_takes_no_more_than_its_limit(store: SqlStore, ann: Account) -> None:
    stored(store, *(email_token(ann.user.id) for _ in range(5)))
    assert [_purge(store, EXPIRY, limit=2) for _ in range(4)] == [2, 2, 1, 0]
