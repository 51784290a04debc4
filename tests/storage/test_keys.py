from __future__ import annotations

from datetime import UTC

import pytest

from core.sql_store import SqlStore
from core.tokens.errors import KeyNumberTakenError
from core.tokens.model import SigningKey
from tests.support.values import NOW, key


def _add(store: SqlStore, *keys: SigningKey) -> None:
    with store.begin() as work:
        for one in keys:
            work.keys.add(one)
        work.commit()


def _all(store: SqlStore) -> list[SigningKey]:
    with store.reading() as read:
        return read.keys.all()


def test_a_new_store_has_no_keys(store: SqlStore) -> None:
    assert _all(store) == []


@pytest.mark.parametrize("sealed", [b"", b"\x00", bytes(range(256)) * 8], ids=["empty", "NUL", "2 KiB"])
def test_a_key_comes_back_as_it_was_stored(store: SqlStore, sealed: bytes) -> None:
    jwk = {"kty": "RSA", "n": "ü" * 700, "nested": {"list": [1, None, True, "\u2028"]}}
    one = key(algorithm="RS256", public_jwk=jwk, sealed_private_key=sealed)
    _add(store, one)
    (found,) = _all(store)
    assert found == one
    assert isinstance(found.sealed_private_key, bytes)
    assert found.created_at.tzinfo is UTC
    assert found.created_at == NOW


def test_keys_come_oldest_first(store: SqlStore) -> None:
    _add(store, *(key(number) for number in (10, 2, 1, 9)))
    assert [found.number for found in _all(store)] == [1, 2, 9, 10]


def test_a_number_belongs_to_one_key(store: SqlStore) -> None:
    first = key(1)
    _add(store, first)
    with pytest.raises(KeyNumberTakenError):
        _add(store, key(1, kid="another"))
    assert _all(store) == [first]


def test_a_removed_key_is_forgotten(store: SqlStore) -> None:
    _add(store, key(1), key(2), key(3))
    with store.begin() as work:
        work.keys.remove("kid-2")
        assert [found.number for found in work.keys.all()] == [1, 3]
        work.commit()
    assert [found.number for found in _all(store)] == [1, 3]


def test_removing_an_unknown_key_does_nothing(store: SqlStore) -> None:
    _add(store, key(1))
    with store.begin() as work:
        work.keys.remove("kid-2")
        work.commit()
    assert len(_all(store)) == 1


def test_keys_are_replaced_in_one_unit_of_work(store: SqlStore) -> None:
    _add(store, key(1), key(2))
    with store.begin() as work:
        work.keys.remove("kid-1")
        work.keys.add(key(3))
        work.commit()
    assert [found.number for found in _all(store)] == [2, 3]
