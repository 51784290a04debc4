"""Keys that rotate by themselves, and a service secret that is changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr

from core.app import build
from core.audit import Client
from core.errors import InvalidRefreshToken
from core.keys import KeyRing, KeyRingLockedError, Seal, current
from core.repositories.memory import MemoryStore
from core.settings import TokenSettings
from tests.api import EMAIL, PASSWORD
from tests.clock import START, FakeClock
from tests.conftest import SECRET, make_settings

LIFETIME = timedelta(days=30)
NEW_SECRET = "Zt7Qm2Xw9Lk4Vb6Nc1Rj8Hd5Fg3Ps0Ya"
CLIENT = Client()


def ring(store: MemoryStore, clock: FakeClock, *keys: bytes) -> KeyRing:
    return KeyRing(store=store, clock=clock, seal=Seal(keys or (bytes(32),)), settings=TokenSettings())


def test_the_next_key_is_published_in_time_to_take_over(clock: FakeClock) -> None:
    store = MemoryStore()
    found = ring(store, clock)
    found.ensure()
    first = found.signer()[0]
    clock.at = START + LIFETIME - timedelta(minutes=10, seconds=1)
    assert found.signer()[0] == first
    assert len(found.jwks()["keys"]) == 1
    clock.at = START + LIFETIME - timedelta(minutes=9)
    assert found.signer()[0] == first
    assert len(found.jwks()["keys"]) == 2
    clock.advance(minutes=10, seconds=1)
    assert found.signer()[0].number == 2


def test_a_key_that_rotated_by_itself_leaves_when_its_last_token_has_run_out(clock: FakeClock) -> None:
    found = ring(MemoryStore(), clock)
    found.ensure()
    clock.at = START + LIFETIME
    found.signer()
    clock.advance(minutes=11)
    found.signer()
    assert len(found.jwks()["keys"]) == 2
    clock.advance(hours=2)
    assert len(found.jwks()["keys"]) == 1


def test_two_processes_rotate_once(clock: FakeClock) -> None:
    store = MemoryStore()
    rings = [ring(store, clock), ring(store, clock)]
    for found in rings:
        found.ensure()
        found.signer()
    clock.at = START + LIFETIME
    for found in rings:
        found.signer()
    clock.advance(minutes=11)
    assert [found.signer()[0].number for found in rings] == [2, 2]
    assert len(store.data.keys) == 2


def test_resealed_keys_open_under_the_new_secret_alone(clock: FakeClock) -> None:
    store, old, new = MemoryStore(), bytes(32), bytes(range(32))
    ring(store, clock, old).ensure()
    with pytest.raises(KeyRingLockedError):
        ring(store, clock, new).signer()
    both = ring(store, clock, new, old)
    assert both.signer()
    assert both.reseal() == 1
    assert ring(store, clock, new).signer()[0].kid == both.signer()[0].kid
    with pytest.raises(KeyRingLockedError):
        ring(store, clock, old).signer()


def test_a_changed_secret_ends_no_session_while_the_old_one_is_listed(clock: FakeClock) -> None:
    store = MemoryStore()
    before = build(make_settings(), store=store, clock=clock)
    before.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    pair = before.authentication.login(EMAIL, PASSWORD, CLIENT)
    changed = make_settings(secret_key=SecretStr(NEW_SECRET), old_secret_keys=(SecretStr(SECRET),))
    after = build(changed, store=store, clock=clock)
    assert after.authentication.whoami(pair.access_token).user.email == EMAIL
    refreshed = after.sessions.refresh(pair.refresh_token, CLIENT)
    after.keys.reseal()
    alone = build(make_settings(secret_key=SecretStr(NEW_SECRET)), store=store, clock=clock)
    assert alone.authentication.whoami(refreshed.access_token).user.email == EMAIL
    assert alone.sessions.refresh(refreshed.refresh_token, CLIENT)
    with pytest.raises(InvalidRefreshToken):
        alone.sessions.refresh(pair.refresh_token, CLIENT)


def test_processes_of_both_secrets_read_each_other_while_each_lists_the_other(clock: FakeClock) -> None:
    """While replicas are replaced one by one, old and new ones serve side by side."""
    store = MemoryStore()
    old = build(make_settings(old_secret_keys=(SecretStr(NEW_SECRET),)), store=store, clock=clock)
    changed = make_settings(secret_key=SecretStr(NEW_SECRET), old_secret_keys=(SecretStr(SECRET),))
    new = build(changed, store=store, clock=clock)
    old.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    pair = old.authentication.login(EMAIL, PASSWORD, CLIENT)
    for door in (new, old, new):
        assert door.authentication.whoami(pair.access_token).user.email == EMAIL
        pair = door.sessions.refresh(pair.refresh_token, CLIENT)
    new.keys.reseal()
    assert build(old.settings, store=store, clock=clock).authentication.whoami(pair.access_token).user.email == EMAIL
    one_step = build(make_settings(), store=store, clock=clock)
    with pytest.raises(InvalidRefreshToken):
        one_step.sessions.refresh(pair.refresh_token, CLIENT)


def test_the_newest_key_whose_time_has_come_signs(clock: FakeClock) -> None:
    store = MemoryStore()
    found = ring(store, clock)
    found.ensure()
    found.rotate("EdDSA")
    keys = found.keys()
    assert current(keys, clock.now()) == keys[0]
    clock.advance(minutes=10)
    assert current(keys, clock.now()) == keys[1]
