from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from core.errors import EmailTaken
from core.store import Store
from tests.repositories.values import HASH, NOW, account, account_in, stored

LATER = NOW + timedelta(hours=1, microseconds=7)


def _add(store: Store, canonical_email: str) -> None:
    with store.begin() as work:
        work.users.add(account(), canonical_email=canonical_email)
        work.commit()


def test_an_account_comes_back_as_it_was_stored(store: Store) -> None:
    ann = account(email_verified=True, roles=("admin", "späher"), is_active=False, created_at=NOW, updated_at=LATER)
    stored(store, ann)
    found = account_in(store, ann.user.id)
    assert found == ann
    assert isinstance(found.user.id, uuid.UUID)
    assert isinstance(found.user.roles, tuple)


def test_an_account_is_found_by_its_canonical_address_alone(store: Store) -> None:
    ann = account("Ann@Exämple.com")
    with store.begin() as work:
        work.users.add(ann, canonical_email="ann@xn--exmple-cua.com")
        work.commit()
    with store.reading() as read:
        assert read.users.by_email("ann@xn--exmple-cua.com") == ann
        assert read.users.by_email("Ann@Exämple.com") is None
        assert read.users.by_email("ANN@xn--exmple-cua.com") is None
        assert read.users.by_email("") is None


def test_an_unknown_id_finds_nothing(store: Store) -> None:
    with store.reading() as read:
        assert read.users.by_id(uuid.uuid4()) is None


def test_a_canonical_address_belongs_to_one_account(store: Store) -> None:
    _add(store, "ann@example.com")
    with pytest.raises(EmailTaken):
        _add(store, "ann@example.com")


def test_a_canonical_address_is_taken_within_one_unit_of_work_too(store: Store) -> None:
    def add_twice() -> None:
        with store.begin() as work:
            work.users.add(account(), canonical_email="ann@example.com")
            work.users.add(account(), canonical_email="ann@example.com")
            work.commit()

    with pytest.raises(EmailTaken):
        add_twice()
    with store.reading() as read:
        assert read.users.by_email("ann@example.com") is None


def test_a_taken_address_leaves_the_first_account_alone(store: Store) -> None:
    ann = account()
    stored(store, ann)
    with pytest.raises(EmailTaken):
        stored(store, account(password_hash="another", display_name="Eve"))
    with store.reading() as read:
        assert read.users.by_email("ann@example.com") == ann


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
def test_the_database_merges_no_addresses_of_its_own(store: Store, others: tuple[str, ...]) -> None:
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
def test_a_display_name_comes_back_as_it_was_typed(store: Store, display_name: str | None) -> None:
    ann, bob = account(display_name=display_name), account("bob@example.com", display_name="Bob")
    stored(store, ann, bob)
    with store.begin() as work:
        renamed = work.users.set_display_name(bob.user.id, display_name, at=NOW)
        work.commit()
    assert renamed is not None
    assert renamed.display_name == display_name
    assert account_in(store, ann.user.id).user.display_name == display_name
    assert account_in(store, bob.user.id).user.display_name == display_name


def test_a_rename_gives_the_user_as_it_is_now(store: Store) -> None:
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


def test_an_unknown_user_cannot_be_renamed(store: Store) -> None:
    stored(store, account())
    with store.begin() as work:
        assert work.users.set_display_name(uuid.uuid4(), "Eve", at=NOW) is None


def test_a_password_is_replaced_where_the_old_hash_still_stands(store: Store) -> None:
    ann, bob = account(), account("bob@example.com")
    stored(store, ann, bob)
    with store.begin() as work:
        assert work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="new", at=LATER)
        work.commit()
    after = account_in(store, ann.user.id)
    assert (after.password_hash, after.user.updated_at) == ("new", LATER)
    assert account_in(store, bob.user.id) == bob


@pytest.mark.parametrize("old_hash", ["other", "", HASH.lower(), HASH + " "])
def test_a_password_is_not_replaced_where_the_hash_has_changed(store: Store, old_hash: str) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert not work.users.replace_password(ann.user.id, old_hash=old_hash, new_hash="new", at=LATER)
        work.commit()
    assert account_in(store, ann.user.id) == ann


def test_an_unknown_user_has_no_password_to_replace(store: Store) -> None:
    stored(store, account())
    with store.begin() as work:
        assert not work.users.replace_password(uuid.uuid4(), old_hash=HASH, new_hash="new", at=NOW)


def test_of_two_replacements_of_one_hash_the_second_does_nothing(store: Store) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="first", at=NOW)
        assert not work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="second", at=NOW)
        work.commit()
    assert account_in(store, ann.user.id).password_hash == "first"


def test_credentials_are_held_for_the_hash_that_was_checked(store: Store) -> None:
    ann = account(roles=("admin",))
    stored(store, ann)
    with store.begin() as work:
        assert work.users.hold_credentials(ann.user.id, HASH) == ann.user


def test_changed_credentials_are_not_held(store: Store) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        assert work.users.hold_credentials(ann.user.id, "another") is None


def test_credentials_of_an_inactive_user_are_not_held(store: Store) -> None:
    ann = account(is_active=False)
    stored(store, ann)
    with store.begin() as work:
        assert work.users.hold_credentials(ann.user.id, HASH) is None


def test_credentials_of_an_unknown_user_are_not_held(store: Store) -> None:
    stored(store, account())
    with store.begin() as work:
        assert work.users.hold_credentials(uuid.uuid4(), HASH) is None


def test_credentials_can_be_held_after_they_were_replaced_in_the_same_unit_of_work(store: Store) -> None:
    ann = account()
    stored(store, ann)
    with store.begin() as work:
        work.users.replace_password(ann.user.id, old_hash=HASH, new_hash="upgraded", at=ann.user.updated_at)
        assert work.users.hold_credentials(ann.user.id, HASH) is None
        assert work.users.hold_credentials(ann.user.id, "upgraded") == ann.user
