"""Keys that rotate by themselves, and a service secret that is changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from core.app import build
from core.clock import CLOCK_SKEW
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.settings.groups import MAX_ACCESS_TTL, TokenSettings
from core.sql_store import SqlStore
from core.tokens.errors import KeysLocked
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.tokens.model import SKEW, SigningKey, current
from tests.support.api import EMAIL, PASSWORD
from tests.support.clock import START, FakeClock
from tests.support.settings import SECRET, make_settings

LIFETIME = timedelta(days=30)
SHORTEST = timedelta(hours=2)
PROPAGATION = timedelta(minutes=10)
TICK = timedelta(seconds=1)
NEW_SECRET = "Zt7Qm2Xw9Lk4Vb6Nc1Rj8Hd5Fg3Ps0Ya"
CLIENT = Origin()


@pytest.fixture
def store(new_store: Callable[[], SqlStore]) -> SqlStore:
    return new_store()


def keys_in(store: SqlStore) -> list[SigningKey]:
    with store.reading() as read:
        return read.keys.all()


def ring(store: SqlStore, clock: FakeClock, *keys: bytes) -> KeyRing:
    return KeyRing(store=store, clock=clock, seal=Seal(keys or (bytes(32),)), settings=TokenSettings())


def test_the_next_key_is_published_in_time_to_take_over(store: SqlStore, clock: FakeClock) -> None:
    found = ring(store, clock)
    found.ensure()
    first = found.signer()[0]
    clock.at = START + LIFETIME - timedelta(minutes=10, seconds=1)
    found.rotate_when_due()
    assert found.signer()[0] == first
    assert len(found.jwks()["keys"]) == 1
    clock.at = START + LIFETIME - timedelta(minutes=10)
    found.rotate_when_due()
    assert found.signer()[0] == first
    assert len(found.jwks()["keys"]) == 2
    clock.at = START + LIFETIME
    assert found.signer()[0].number == 2


def test_whoever_comes_late_publishes_before_signing_all_the_same(store: SqlStore, clock: FakeClock) -> None:
    """A service that was down for longer than a key's lifetime: nobody has seen the next key, so the old one signs."""
    ring(store, clock).ensure()
    clock.at = START + 3 * LIFETIME
    found = ring(store, clock)
    found.rotate_when_due()
    first = found.signer()[0]
    assert first.number == 1
    _, successor = found.keys()
    assert successor.activates_at == clock.now() + PROPAGATION
    clock.advance(minutes=10)
    found.rotate_when_due()
    assert found.signer()[0].number == 2
    assert found.verifier(first.kid) is not None
    assert len(keys_in(store)) == 2


def test_a_key_that_was_rotated_by_hand_has_its_whole_lifetime(store: SqlStore, clock: FakeClock) -> None:
    found = ring(store, clock)
    found.ensure()
    clock.at = START + LIFETIME - timedelta(hours=1)
    by_hand = found.rotate()
    for clock.at in (START + LIFETIME, by_hand.activates_at + LIFETIME - PROPAGATION - TICK):
        found.rotate_when_due()
        assert len(keys_in(store)) == 2
    clock.advance(seconds=1)
    found.rotate_when_due()
    left, successor = found.keys()
    assert (left.number, successor.number) == (2, 3)


def test_the_next_key_is_of_the_algorithm_that_is_set_now(store: SqlStore, clock: FakeClock) -> None:
    """And a process that was started with another algorithm is no reason to rotate before the time."""
    ring(store, clock).ensure()
    changed = KeyRing(store=store, clock=clock, seal=Seal((bytes(32),)), settings=TokenSettings(algorithm="EdDSA"))
    changed.rotate_when_due()
    assert changed.signer()[0].algorithm == "ES256"
    clock.at = START + LIFETIME
    changed.rotate_when_due()
    _, successor = changed.keys()
    assert successor.algorithm == "EdDSA"


def test_a_ring_without_keys_waits_for_its_first(store: SqlStore, clock: FakeClock) -> None:
    """Which signs at once; a successor would sign in ten minutes only."""
    found = ring(store, clock)
    found.rotate_when_due()
    assert keys_in(store) == []
    found.ensure()
    found.rotate_when_due()
    assert found.signer()[0].activates_at == START
    assert len(keys_in(store)) == 1


def test_who_signs_or_verifies_makes_no_key_however_late_it_is(store: SqlStore, clock: FakeClock) -> None:
    """An RSA key takes a second to make, which would be a second of somebody's login."""
    found = ring(store, clock)
    kid = found.signer()[0].kid
    clock.at = START + 3 * LIFETIME
    assert found.signer()[0].kid == kid
    assert found.verifier(kid) is not None
    assert found.verifier("junk") is None
    assert len(found.jwks()["keys"]) == len(keys_in(store)) == 1


def test_a_key_that_rotated_by_itself_leaves_when_its_last_token_has_run_out(store: SqlStore, clock: FakeClock) -> None:
    found = ring(store, clock)
    found.ensure()
    clock.at = START + LIFETIME
    found.rotate_when_due()
    clock.advance(minutes=11)
    found.rotate_when_due()
    assert len(found.jwks()["keys"]) == 2
    clock.advance(hours=2)
    assert len(found.jwks()["keys"]) == 1


def test_two_processes_rotate_once(store: SqlStore, clock: FakeClock) -> None:
    rings = [ring(store, clock), ring(store, clock)]
    for found in rings:
        found.ensure()
        found.signer()
    clock.at = START + LIFETIME
    for found in rings:
        found.rotate_when_due()
    clock.advance(minutes=11)
    assert [found.signer()[0].number for found in rings] == [2, 2]
    assert len(keys_in(store)) == 2


def test_tokens_of_keys_that_nobody_knows_do_not_put_the_next_key_off(store: SqlStore, clock: FakeClock) -> None:
    """Each of them lets the ring be read again, so that the copy of a process under such a rain is never an old one."""
    app = build(make_settings(tokens=TokenSettings(key_lifetime=SHORTEST)), store=store, clock=clock)
    app.keys.ensure()
    while clock.now() < START + SHORTEST:
        app.housekeeper.run_once()
        for _ in range(30):
            clock.advance(seconds=2)
            app.keys.verifier("junk")
    assert app.keys.signer()[0].number == 2
    assert len(keys_in(store)) == 2


def test_resealed_keys_open_under_the_new_secret_alone(store: SqlStore, clock: FakeClock) -> None:
    old, new = bytes(32), bytes(range(32))
    ring(store, clock, old).ensure()
    with pytest.raises(KeysLocked):
        ring(store, clock, new).signer()
    both = ring(store, clock, new, old)
    assert both.signer()
    assert both.reseal() == 1
    assert ring(store, clock, new).signer()[0].kid == both.signer()[0].kid
    with pytest.raises(KeysLocked):
        ring(store, clock, old).signer()


def test_a_changed_secret_ends_no_session_while_the_old_one_is_listed(store: SqlStore, clock: FakeClock) -> None:
    before = build(make_settings(), store=store, clock=clock)
    before.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    pair = before.authentication.login(EMAIL, PASSWORD, CLIENT)
    changed = make_settings(secret_key=SecretStr(NEW_SECRET), old_secret_keys=(SecretStr(SECRET),))
    after = build(changed, store=store, clock=clock)
    assert after.sessions.whoami(pair.access_token).user.email == EMAIL
    refreshed = after.sessions.refresh(pair.refresh_token, CLIENT)
    after.keys.reseal()
    alone = build(make_settings(secret_key=SecretStr(NEW_SECRET)), store=store, clock=clock)
    assert alone.sessions.whoami(refreshed.access_token).user.email == EMAIL
    assert alone.sessions.refresh(refreshed.refresh_token, CLIENT)
    with pytest.raises(InvalidRefreshToken):
        alone.sessions.refresh(pair.refresh_token, CLIENT)


def test_processes_of_both_secrets_read_each_other_while_each_lists_the_other(
    store: SqlStore, clock: FakeClock
) -> None:
    """While replicas are replaced one by one, old and new ones serve side by side."""
    old = build(make_settings(old_secret_keys=(SecretStr(NEW_SECRET),)), store=store, clock=clock)
    changed = make_settings(secret_key=SecretStr(NEW_SECRET), old_secret_keys=(SecretStr(SECRET),))
    new = build(changed, store=store, clock=clock)
    old.accounts.sign_up(EMAIL, PASSWORD, None, CLIENT)
    pair = old.authentication.login(EMAIL, PASSWORD, CLIENT)
    for door in (new, old, new):
        assert door.sessions.whoami(pair.access_token).user.email == EMAIL
        pair = door.sessions.refresh(pair.refresh_token, CLIENT)
    new.keys.reseal()
    assert build(old.settings, store=store, clock=clock).sessions.whoami(pair.access_token).user.email == EMAIL
    one_step = build(make_settings(), store=store, clock=clock)
    with pytest.raises(InvalidRefreshToken):
        one_step.sessions.refresh(pair.refresh_token, CLIENT)


def test_the_newest_key_whose_time_has_come_signs(store: SqlStore, clock: FakeClock) -> None:
    found = ring(store, clock)
    found.ensure()
    found.rotate("EdDSA")
    keys = found.keys()
    assert current(keys, clock.now()) == keys[0]
    clock.advance(minutes=10)
    assert current(keys, clock.now()) == keys[1]


# A clock that was wrong


@pytest.mark.parametrize("ahead", [timedelta(days=40), timedelta(days=4000)])
def test_a_clock_that_was_once_ahead_stops_no_rotation(store: SqlStore, clock: FakeClock, ahead: timedelta) -> None:
    ring(store, clock).ensure()
    clock.at = START + ahead
    ring(store, clock).rotate_when_due()
    _, wrong = keys_in(store)
    clock.at = START + LIFETIME
    with capture_logs() as lines:
        ring(store, clock).rotate_when_due()
        ring(store, clock).rotate_when_due()
    *_, successor = keys_in(store)
    assert [key.number for key in keys_in(store)] == [1, 2, 3]
    assert [(line["log_level"], line["kid"], line["next_kid"]) for line in lines] == [
        ("error", wrong.kid, successor.kid)
    ]
    assert ring(store, clock).signer()[0].number == 1
    clock.advance(minutes=10)
    assert ring(store, clock).signer()[0].number == 3


def test_keys_of_a_clock_that_was_ahead_leave_when_their_successor_has_signed(
    store: SqlStore, clock: FakeClock
) -> None:
    ring(store, clock).ensure()
    clock.at = START + timedelta(days=4000)
    ring(store, clock).rotate_when_due()
    clock.at = START + LIFETIME
    ring(store, clock).rotate_when_due()
    clock.advance(minutes=10)
    assert len(ring(store, clock).jwks()["keys"]) == 3
    clock.at += MAX_ACCESS_TTL + SKEW
    assert ring(store, clock).jwks()["keys"] == [keys_in(store)[2].public_jwk]


def test_a_first_key_of_a_clock_that_was_ahead_signs_until_the_next_one_does(store: SqlStore, clock: FakeClock) -> None:
    clock.at = START + timedelta(days=4000)
    ring(store, clock).ensure()
    clock.at = START
    ring(store, clock).rotate_when_due()
    assert ring(store, clock).signer()[0].number == 1
    clock.advance(minutes=10)
    ring(store, clock).rotate_when_due()
    assert ring(store, clock).signer()[0].number == 2
    assert len(keys_in(store)) == 2


def test_a_key_of_a_clock_that_is_a_little_ahead_is_no_reason_to_rotate(store: SqlStore, clock: FakeClock) -> None:
    ring(store, clock).ensure()
    clock.at = START + CLOCK_SKEW
    ring(store, clock).rotate()
    clock.at = START
    ring(store, clock).rotate_when_due()
    assert len(keys_in(store)) == 2
