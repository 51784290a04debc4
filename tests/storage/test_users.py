from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from core.mail.model import Message, MessageKind, OneTimeToken, Purpose
from core.oauth.sql import client_secrets, clients
from core.sessions.model import EndReason, Session
from core.sql_store import SqlStore
from core.users.errors import EmailTaken
from core.users.model import Account, User
from core.users.sql import users
from tests.support.database_faults import wait_for_blocked
from tests.support.values import (
    HASH,
    NOW,
    account,
    account_in,
    audit_event,
    email_token,
    events_in,
    message,
    messages_in,
    session,
    stored,
    tokens_of,
)

LATER = NOW + timedelta(hours=1, microseconds=7)


def test_a_new_database_has_no_account_and_no_client(new_store: Callable[[], SqlStore]) -> None:
    """There is no password that everybody knows."""
    with new_store().engine.connect() as connection:
        for table in (users, clients, client_secrets):
            assert connection.scalar(select(func.count()).select_from(table)) == 0, table.name


def _add(store: SqlStore, canonical_email: str, **changes: Any) -> bool:
    with store.begin() as work:
        added = work.users.add(account(**changes), canonical_email=canonical_email)
        work.commit()
    return added


def test_an_account_comes_back_as_it_was_stored(store: SqlStore) -> None:
    ann = account(email_verified=True, roles=("admin", "späher"), is_active=False, created_at=NOW, updated_at=LATER)
    stored(store, ann)
    found = account_in(store, ann.user.id)
    assert found == ann
    assert isinstance(found.user.id, uuid.UUID)
    assert isinstance(found.user.roles, tuple)


def test_an_account_is_found_by_its_canonical_address_alone(store: SqlStore) -> None:
    ann = account("Ann@Exämple.com")
    with store.begin() as work:
        work.users.add(ann, canonical_email="ann@xn--exmple-cua.com")
        work.commit()
    with store.reading() as read:
        assert read.users.by_email("ann@xn--exmple-cua.com") == ann
        assert read.users.by_email("Ann@Exämple.com") is None
        assert read.users.by_email("ANN@xn--exmple-cua.com") is None
        assert read.users.by_email("") is None


def test_an_unknown_id_finds_nothing(store: SqlStore) -> None:
    with store.reading() as read:
        assert read.users.by_id(uuid.uuid4()) is None


def test_a_canonical_address_belongs_to_one_account(store: SqlStore) -> None:
    assert _add(store, "ann@example.com")
    assert not _add(store, "ann@example.com")


def test_a_canonical_address_is_taken_within_one_unit_of_work_too(store: SqlStore) -> None:
    first = account()
    with store.begin() as work:
        assert work.users.add(first, canonical_email="ann@example.com")
        assert not work.users.add(account(), canonical_email="ann@example.com")
        work.commit()
    with store.reading() as read:
        assert read.users.by_email("ann@example.com") == first


def test_a_taken_address_leaves_the_first_account_alone(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    assert not _add(store, "ann@example.com", password_hash="another", display_name="Eve")
    with store.reading() as read:
        assert read.users.by_email("ann@example.com") == ann


def test_work_goes_on_after_an_address_was_taken(store: SqlStore) -> None:
    """A refused insert must not undo the transaction around it, in which the owner is then told."""
    stored(store, account())
    told = message()
    with store.begin() as work:
        assert not work.users.add(account(), canonical_email="ann@example.com")
        work.outbox.add(told)
        work.commit()
    assert messages_in(store) == [told]


@pytest.mark.parametrize(
    "others",
    [
        (
            "i@example.com",
            "\N{LATIN SMALL LETTER DOTLESS I}@example.com",
            "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}@example.com",
        ),
        ("strasse@example.com", "straße@example.com"),
        ("a@example.com", "A@example.com", "\N{CYRILLIC SMALL LETTER A}@example.com"),
        ("ann@example.com", "ann @example.com", " ann@example.com"),
        ("k@example.com", "\N{KELVIN SIGN}@example.com"),
    ],
    ids=["dotless i", "sharp s", "case and script", "spaces", "kelvin"],
)
def test_the_database_merges_no_addresses_of_its_own(store: SqlStore, others: tuple[str, ...]) -> None:
    """What is one address is decided before; a database that folds case would merge two mailboxes."""
    for canonical_email in others:
        _add(store, canonical_email)
    with store.reading() as read:
        found = [read.users.by_email(canonical_email) for canonical_email in others]
    assert len({one.user.id for one in found if one}) == len(others)


@pytest.mark.parametrize(
    "display_name",
    [
        None,
        "",
        " ",
        "Ann\nB.",
        "שָׁלוֹם",
        "e\u0301",
        "\u00e9",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
        "\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL A}" * 100,
        "'; DROP TABLE users; --",
        "%s {} :x",
    ],
)
def test_a_display_name_comes_back_as_it_was_typed(store: SqlStore, display_name: str | None) -> None:
    ann, bob = account(display_name=display_name), account("bob@example.com", display_name="Bob")
    stored(store, ann, bob)
    with store.begin() as work:
        renamed = work.users.set_display_name(bob.user.id, display_name, at=NOW)
        work.commit()
    assert renamed is not None
    assert renamed.display_name == display_name
    assert account_in(store, ann.user.id).user.display_name == display_name
    assert account_in(store, bob.user.id).user.display_name == display_name


def test_a_rename_gives_the_user_as_it_is_now(store: SqlStore) -> None:
    ann = account(roles=("admin",))
    stored(store, ann)
    with store.begin() as work:
        renamed = work.users.set_display_name(ann.user.id, "Anna", at=LATER)
        work.commit()
    after = account_in(store, ann.user.id)
    assert (
        renamed
        == after.user
        == account("ann@example.com", id=ann.user.id, display_name="Anna", roles=("admin",), updated_at=LATER).user
    )
    assert after.password_hash == HASH


def test_an_unknown_user_cannot_be_renamed(store: SqlStore) -> None:
    stored(store, account())
    with store.begin() as work:
        assert work.users.set_display_name(uuid.uuid4(), "Eve", at=NOW) is None


def test_a_password_is_replaced_where_the_old_hash_still_stands(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(store, ann, bob)
    with store.begin() as work:
        assert work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="new", at=LATER)
        work.commit()
    after = account_in(store, ann.user.id)
    assert (after.password_hash, after.user.updated_at) == ("new", LATER)
    assert account_in(store, bob.user.id) == bob


@pytest.mark.parametrize("old_hash", ["other", "", HASH.lower(), HASH + " "])
def test_a_password_is_not_replaced_where_the_hash_has_changed(store: SqlStore, old_hash: str) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert not work.users.replace_password(ann.user.id, old_hash=old_hash, new_hash="new", at=LATER)
        work.commit()
    assert account_in(store, ann.user.id) == ann


def test_an_unknown_user_has_no_password_to_replace(store: SqlStore) -> None:
    stored(store, account())
    with store.begin() as work:
        assert not work.users.replace_password(uuid.uuid4(), old_hash=HASH, new_hash="new", at=NOW)


def test_of_two_replacements_of_one_hash_the_second_does_nothing(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="first", at=NOW)
        assert not work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="second", at=NOW)
        work.commit()
    assert account_in(store, ann.user.id).password_hash == "first"


def test_credentials_are_held_for_the_hash_that_was_checked(store: SqlStore) -> None:
    ann = account(roles=("admin",))
    stored(store, ann)
    with store.begin() as work:
        assert work.users.lock_credentials(ann.user.id, HASH) == ann.user


def test_changed_credentials_are_not_held(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.lock_credentials(ann.user.id, "another") is None


def test_credentials_of_an_inactive_user_are_not_held(store: SqlStore) -> None:
    ann = account(is_active=False)
    stored(store, ann)
    with store.begin() as work:
        assert work.users.lock_credentials(ann.user.id, HASH) is None


def test_credentials_of_an_unknown_user_are_not_held(store: SqlStore) -> None:
    stored(store, account())
    with store.begin() as work:
        assert work.users.lock_credentials(uuid.uuid4(), HASH) is None


def test_credentials_can_be_held_after_they_were_replaced_in_the_same_unit_of_work(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="upgraded", at=ann.user.updated_at)
        assert work.users.lock_credentials(ann.user.id, HASH) is None
        assert work.users.lock_credentials(ann.user.id, "upgraded") == ann.user


# Holding


def test_a_user_is_held_whatever_the_password_and_active_or_not(store: SqlStore) -> None:
    ann, bob = account(roles=("admin",)), account("bob@example.com", is_active=False)
    stored(store, ann, bob)
    with store.begin() as work:
        assert work.users.lock(ann.user.id) == ann.user
        assert work.users.lock(bob.user.id) == bob.user


def test_an_unknown_user_is_not_held(store: SqlStore) -> None:
    stored(store, account())
    with store.begin() as work:
        assert work.users.lock(uuid.uuid4()) is None


def test_who_holds_a_user_second_waits_and_sees_what_the_first_did(postgres_store: SqlStore) -> None:
    ann = account()
    stored(postgres_store, ann)

    def hold() -> User | None:
        with postgres_store.begin() as work:
            return work.users.lock(ann.user.id)

    with ThreadPoolExecutor(1) as pool:
        with postgres_store.begin() as work:
            work.users.lock(ann.user.id)
            work.users.set_display_name(ann.user.id, "Anna", at=LATER)
            second = pool.submit(hold)
            wait_for_blocked(postgres_store)
            work.commit()
        found = second.result(10)
    assert found is not None
    assert found.display_name == "Anna"


def test_a_message_to_a_user_who_is_held_can_be_stored(postgres_store: SqlStore) -> None:
    """The foreign key of a new message must not wait for the relay, which holds its user while it prepares another."""
    ann = account()
    stored(postgres_store, ann)
    with postgres_store.begin() as work:
        work.users.lock(ann.user.id)
        stored(postgres_store, message(user_id=ann.user.id))
    assert len(messages_in(postgres_store)) == 1


# Recovering, verifying, and another address


def test_a_recovery_sets_the_hash_and_verifies_the_address(store: SqlStore) -> None:
    ann, bob = account(roles=("admin",)), account("bob@example.com")
    stored(store, ann, bob)
    with store.begin() as work:
        recovered = work.users.reset_password(ann.user.id, "new", at=LATER)
        work.commit()
    after = account_in(store, ann.user.id)
    # Nobody had verified the address: the name may be a stranger's.
    taken_over = replace(ann.user, email_verified=True, display_name=None, updated_at=LATER)
    assert after == Account(user=taken_over, password_hash="new")
    assert recovered == after.user
    assert account_in(store, bob.user.id) == bob


def test_an_inactive_user_is_not_recovered(store: SqlStore) -> None:
    ann = account(is_active=False)
    stored(store, ann)
    with store.begin() as work:
        assert work.users.reset_password(ann.user.id, "new", at=LATER) is None
        work.commit()
    assert account_in(store, ann.user.id) == ann


def test_the_address_of_an_inactive_user_is_neither_verified_nor_changed(store: SqlStore) -> None:
    ann = account(is_active=False)
    stored(store, ann)
    with store.begin() as work:
        assert work.users.verify_email(ann.user.id, at=LATER) is None
        assert work.users.set_email(ann.user.id, "a@example.com", canonical_email="a@example.com", at=LATER) is None
        work.commit()
    assert account_in(store, ann.user.id) == ann
    assert _add(store, "a@example.com"), "the address is still free"


def test_an_unknown_user_is_neither_recovered_nor_verified_nor_given_an_address(store: SqlStore) -> None:
    ann, nobody = account(), uuid.uuid4()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.reset_password(nobody, "new", at=LATER) is None
        assert work.users.verify_email(nobody, at=LATER) is None
        assert work.users.set_email(nobody, "eve@example.com", canonical_email="eve@example.com", at=LATER) is None
        work.commit()
    assert account_in(store, ann.user.id) == ann
    assert _add(store, "eve@example.com"), "the address is still free"


@pytest.mark.parametrize("before", [False, True])
def test_an_address_is_verified_once_or_again(store: SqlStore, *, before: bool) -> None:
    ann, bob = account(email_verified=before), account("bob@example.com")
    stored(store, ann, bob)
    with store.begin() as work:
        verified = work.users.verify_email(ann.user.id, at=LATER)
        work.commit()
    assert account_in(store, ann.user.id).user == verified == replace(ann.user, email_verified=True, updated_at=LATER)
    assert account_in(store, bob.user.id) == bob


def _set_email(store: SqlStore, user_id: uuid.UUID, address: str, canonical_email: str) -> User | None:
    with store.begin() as work:
        user = work.users.set_email(user_id, address, canonical_email=canonical_email, at=LATER)
        work.commit()
    return user


def test_another_address_takes_the_place_of_the_old_one(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    changed = _set_email(store, ann.user.id, "Anna@Exämple.com", "anna@xn--exmple-cua.com")
    assert changed == replace(ann.user, email="Anna@Exämple.com", email_verified=True, updated_at=LATER)
    with store.reading() as read:
        found = read.users.by_email("anna@xn--exmple-cua.com")
        assert found == Account(user=changed, password_hash=HASH)
        assert read.users.by_email("ann@example.com") is None
    assert _add(store, "ann@example.com"), "the old address is free"


def test_the_address_of_another_account_is_taken(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(store, ann, bob)
    with pytest.raises(EmailTaken):
        _set_email(store, ann.user.id, "Bob@example.com", "bob@example.com")
    assert account_in(store, ann.user.id) == ann
    with store.reading() as read:
        assert read.users.by_email("bob@example.com") == bob
        assert read.users.by_email("ann@example.com") == ann


def test_the_own_address_can_be_spelt_in_another_way(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    changed = _set_email(store, ann.user.id, "ANN@example.com", "ann@example.com")
    assert changed is not None
    assert changed.email == "ANN@example.com"
    with store.reading() as read:
        found = read.users.by_email("ann@example.com")
    assert found is not None
    assert found.user == changed


# Removing


def _belongings(user_id: uuid.UUID) -> tuple[Session | Message | OneTimeToken, ...]:
    waiting, sent = message(user_id=user_id), message(user_id=user_id, due_at=None, sent_at=LATER, attempts=1)
    dead = message(MessageKind.EMAIL_CHANGE, user_id=user_id, due_at=None, dead_at=LATER, attempts=12)
    ended = session(user_id, ended_at=LATER, end_reason=EndReason.LOGOUT)
    return session(user_id), ended, waiting, sent, dead, *(email_token(user_id, purpose) for purpose in Purpose)


def test_a_removed_user_takes_all_belongings_along_and_leaves_those_of_others(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    theirs = _belongings(bob.user.id)
    for_an_address = message(MessageKind.PASSWORD_RESET, canonical_email="ann@example.com")
    stored(store, ann, bob, *_belongings(ann.user.id), *theirs, for_an_address)
    with store.begin() as work:
        assert work.users.remove(ann.user.id)
        work.commit()
    with store.reading() as read:
        assert read.users.by_id(ann.user.id) is None
        assert read.users.by_email("ann@example.com") is None
        assert read.sessions.of(ann.user.id) == []
        assert read.outbox.of(ann.user.id) == []
        assert read.one_time_tokens.of(ann.user.id) == []
        assert len(read.sessions.of(bob.user.id)) == 2
        assert len(read.outbox.of(bob.user.id)) == 3
        assert len(read.one_time_tokens.of(bob.user.id)) == len(Purpose)
    assert for_an_address in messages_in(store), "nobody knows yet whom that one is about"
    assert account_in(store, bob.user.id) == bob
    assert _add(store, "ann@example.com"), "the address is free"


def test_an_unknown_user_cannot_be_removed(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.remove(uuid.uuid4()) is None
        work.commit()
    assert account_in(store, ann.user.id) == ann


def test_a_user_is_removed_once(store: SqlStore) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.remove(ann.user.id) == ann.user.email
        assert work.users.remove(ann.user.id) is None
        work.commit()


def test_a_removed_user_leaves_the_canonical_address_as_it_was_stored(store: SqlStore) -> None:
    ann = account("Ann@Exämple.com")
    with store.begin() as work:
        work.users.add(ann, canonical_email="ann@xn--exmple-cua.com")
        assert work.users.set_email(ann.user.id, "Ann@B.example", canonical_email="ann@b.example", at=NOW)
        assert work.users.remove(ann.user.id) == "ann@b.example"
        work.commit()


def test_a_removal_that_is_not_committed_removes_nothing(store: SqlStore) -> None:
    ann = account()
    belongings = _belongings(ann.user.id)
    stored(store, ann, *belongings)
    with store.begin() as work:
        work.users.remove(ann.user.id)
    assert account_in(store, ann.user.id) == ann
    assert len(messages_in(store)) == 3
    assert len(tokens_of(store, ann.user.id)) == len(Purpose)


def test_what_happened_to_a_removed_user_stays_without_the_network_address(store: SqlStore) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(store, ann, bob)
    with store.begin() as work:
        for user_id in (ann.user.id, bob.user.id, None):
            work.audit.add(audit_event(user_id=user_id))
        work.users.remove(ann.user.id)
        work.audit.forget_addresses(ann.user.id, after=None, limit=100)
        work.commit()
    addresses = {event.user_id: event.ip for event in events_in(store)}
    assert addresses == {ann.user.id: "", bob.user.id: "2001:db8::7", None: "2001:db8::7"}
