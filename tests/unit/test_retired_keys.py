"""Retiring a key at once: which key takes over, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from core.audit.model import EventKind
from core.audit.sql import audit_events
from core.errors import NotFound
from core.settings.groups import TokenSettings
from core.sql_store import SqlStore
from core.tokens.errors import KeysLocked
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.tokens.model import retirement
from tests.support.clock import START, FakeClock

SECRET = b"s" * 32


def ring_of(store: SqlStore, clock: FakeClock, secret: bytes = SECRET) -> KeyRing:
    return KeyRing(store=store, clock=clock, seal=Seal([secret]), settings=TokenSettings())


@pytest.fixture
def store(new_store: Callable[[], SqlStore]) -> SqlStore:
    return new_store()


@pytest.fixture
def ring(store: SqlStore, clock: FakeClock) -> KeyRing:
    made = ring_of(store, clock)
    made.ensure()
    return made


def kids(ring: KeyRing) -> list[str]:
    return [key.kid for key in ring.keys()]  # noqa: SIM118 - no mapping


def test_the_only_key_is_followed_by_a_new_one_that_signs_at_once(ring: KeyRing) -> None:
    leaked = ring.signer()[0]
    signing = ring.retire(leaked.kid)
    assert kids(ring) == [signing.kid]
    assert signing.kid != leaked.kid
    assert signing.number == leaked.number + 1
    assert signing.activates_at == START


def test_the_key_that_is_published_takes_over_before_its_time(ring: KeyRing, clock: FakeClock) -> None:
    leaked, following = ring.signer()[0], ring.rotate()
    clock.advance(minutes=1)
    signing = ring.retire(leaked.kid)
    assert (signing.kid, signing.activates_at) == (following.kid, clock.now())
    assert kids(ring) == [following.kid]


def test_an_earlier_key_never_signs_again(ring: KeyRing, clock: FakeClock) -> None:
    """It may have leaked as well; it verifies on."""
    earlier, leaked = ring.signer()[0], ring.rotate()
    clock.advance(minutes=10)
    assert ring.signer()[0] == leaked
    signing = ring.retire(leaked.kid)
    assert signing.kid not in (earlier.kid, leaked.kid)
    assert kids(ring) == [earlier.kid, signing.kid]


@pytest.mark.parametrize("retired", [0, 1])
def test_the_key_that_signs_stays_where_another_one_is_retired(ring: KeyRing, clock: FakeClock, retired: int) -> None:
    """One that verifies on, and one that is to sign next."""
    ring.rotate()
    clock.advance(minutes=10 if retired == 0 else 1)
    leaked = ring.keys()[retired]
    signing = ring.signer()[0]
    assert ring.retire(leaked.kid) == signing
    assert kids(ring) == [signing.kid]


def test_the_next_rotation_comes_when_the_new_key_is_due(ring: KeyRing, clock: FakeClock) -> None:
    ring.retire(ring.signer()[0].kid)
    ring.rotate_when_due()
    assert len(ring.keys()) == 1
    clock.advance(days=30)
    ring.rotate_when_due()
    assert len(ring.keys()) == 2


def test_a_key_that_is_not_there_is_told_and_nothing_changes(ring: KeyRing) -> None:
    before = kids(ring)
    with pytest.raises(NotFound):
        ring.retire("nobody's")
    assert kids(ring) == before


def test_another_secret_retires_nothing(ring: KeyRing, store: SqlStore, clock: FakeClock) -> None:
    """The key that took over could be opened by nobody else."""
    before = kids(ring)
    with pytest.raises(KeysLocked):
        ring_of(store, clock, bytes(32)).retire(before[0])
    assert kids(ring) == before


def test_it_is_audited_with_the_key_that_took_over(ring: KeyRing, store: SqlStore) -> None:
    leaked = ring.signer()[0].kid
    signing = ring.retire(leaked).kid
    with store.engine.connect() as connection:
        found = [(row.kind, row.subject) for row in connection.execute(audit_events.select().order_by("id"))]
    assert sorted(found) == [(EventKind.KEY_RETIRED, leaked), (EventKind.KEY_ROTATED, signing)]


def test_its_end_is_told_for_longer_than_any_verifier_keeps_keys_it_cannot_renew() -> None:
    entry = retirement("a key", at=START)
    assert entry.expires_at - START > timedelta(seconds=86400)
