from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from core.oauth.model import ClientSecret, RegisteredClient
from core.sql_store import SqlStore
from tests.support.values import NOW

CLIENT = RegisteredClient(
    id="twc_1", name="Orders \N{FOX FACE}", scopes=("b", "a"), is_active=True, created_at=NOW, last_used_at=None
)
OTHER = replace(CLIENT, id="twc_2", created_at=NOW + timedelta(seconds=1), is_active=False)
SECOND = timedelta(seconds=1)


def secret(number: int, *, client_id: str = CLIENT.id, ends: timedelta | None = None) -> ClientSecret:
    expires_at = None if ends is None else NOW + ends
    return ClientSecret(client_id=client_id, digest=bytes([number]) * 32, created_at=NOW, expires_at=expires_at)


@pytest.fixture
def stored(store: SqlStore) -> SqlStore:
    with store.begin() as work:
        work.clients.add(OTHER)
        work.clients.add(CLIENT)
        work.commit()
    return store


def digests(store: SqlStore, client_id: str = CLIENT.id, *, after: timedelta = timedelta(0)) -> list[int]:
    with store.reading() as read:
        return sorted(found.digest[0] for found in read.clients.secrets_of(client_id, now=NOW + after))


def test_clients_come_back_as_they_were_stored_oldest_first(stored: SqlStore) -> None:
    with stored.reading() as read:
        assert read.clients.all() == [CLIENT, OTHER]
        assert read.clients.by_id(OTHER.id) == OTHER
        assert read.clients.by_id("twc_3") is None


def test_a_client_is_disabled_and_enabled(stored: SqlStore) -> None:
    for is_active in (False, True):
        with stored.begin() as work:
            assert work.clients.set_active(CLIENT.id, is_active=is_active)
            assert not work.clients.set_active("twc_3", is_active=is_active)
            work.commit()
        with stored.reading() as read:
            assert read.clients.by_id(CLIENT.id) == replace(CLIENT, is_active=is_active)
            assert read.clients.by_id(OTHER.id) == OTHER


def test_use_is_noted_of_one_client(stored: SqlStore) -> None:
    with stored.begin() as work:
        work.clients.touch(CLIENT.id, at=NOW + SECOND)
        work.commit()
    with stored.reading() as read:
        assert read.clients.all() == [replace(CLIENT, last_used_at=NOW + SECOND), OTHER]


def test_secrets_are_a_clients_own_until_they_expire(stored: SqlStore) -> None:
    with stored.begin() as work:
        for one in (secret(1), secret(2, ends=SECOND), secret(3, client_id=OTHER.id)):
            work.clients.add_secret(one)
        work.commit()
    assert digests(stored) == [1, 2]
    assert digests(stored, after=SECOND) == [1]
    assert digests(stored, OTHER.id) == [3]
    with stored.reading() as read:
        assert secret(2, ends=SECOND) in read.clients.secrets_of(CLIENT.id, now=NOW)


def test_secrets_that_are_let_expire_end_no_later_than_before(stored: SqlStore) -> None:
    with stored.begin() as work:
        for one in (secret(1), secret(2, ends=SECOND), secret(3, ends=3 * SECOND), secret(4, client_id=OTHER.id)):
            work.clients.add_secret(one)
        work.clients.expire_secrets(CLIENT.id, at=NOW + 2 * SECOND)
        work.commit()
    assert [digests(stored, after=number * SECOND) for number in range(3)] == [[1, 2, 3], [1, 3], []]
    assert digests(stored, OTHER.id, after=timedelta(days=9)) == [4]


def test_what_is_not_committed_is_not_registered(store: SqlStore) -> None:
    with store.begin() as work:
        work.clients.add(CLIENT)
        work.clients.add_secret(secret(1))
    with store.reading() as read:
        assert read.clients.all() == []
        assert read.clients.secrets_of(CLIENT.id, now=NOW) == []
