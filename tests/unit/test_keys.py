"""The key ring: names of keys, their life from publication to retirement, and who may open them."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from sqlalchemy import update

from core.errors import DatabaseUnavailable
from core.settings.groups import MAX_ACCESS_TTL, Algorithm, TokenSettings
from core.sql_store import SqlStore
from core.store import Store, UnitOfWork
from core.tokens.errors import KeysLocked
from core.tokens.key_material import RSA_BITS, PrivateKey, Seal, generate, public_jwk, thumbprint
from core.tokens.key_ring import REFRESH, UNKNOWN_KID_COOLDOWN, KeyRing
from core.tokens.model import SKEW, SigningKey, current, retired
from core.tokens.sql import signing_keys
from tests.support import vectors
from tests.support.clock import START, FakeClock

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
PROPAGATION = timedelta(minutes=10)
TICK = timedelta(microseconds=1)
SECRET = hashlib.sha256(b"a secret").digest()

# RFC 7638 section 3.1.
RFC_7638_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


@pytest.fixture
def store(new_store: Callable[[], SqlStore]) -> SqlStore:
    return new_store()


def ring_of(store: Store, clock: FakeClock, *, algorithm: Algorithm = "ES256", secret: bytes = SECRET) -> KeyRing:
    return KeyRing(store=store, clock=clock, seal=Seal([secret]), settings=TokenSettings(algorithm=algorithm))


class TestThumbprints:
    def test_are_those_of_rfc_7638(self) -> None:
        assert thumbprint(RFC_7638_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

    def test_are_those_of_rfc_8037(self) -> None:
        key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

    @pytest.mark.parametrize("name", ["rfc7638_3_1", "rfc8037_A3"])
    def test_are_the_known_answers(self, name: str) -> None:
        known = vectors.load("rfc/known_answers.json")[name]
        assert thumbprint(known["jwk"]) == known["thumbprint_sha256"]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_depend_on_the_key_alone(self, algorithm: Algorithm, private_keys: dict[Algorithm, PrivateKey]) -> None:
        jwk = public_jwk(private_keys[algorithm], algorithm)
        decorated = {"use": "enc", "x5t": "abc", **dict(reversed(jwk.items())), "kid": "other", "d": "private"}
        assert thumbprint(decorated) == jwk["kid"]
        assert thumbprint(public_jwk(generate("ES256"), "ES256")) != jwk["kid"]


@pytest.fixture(scope="module")
def private_keys() -> dict[Algorithm, PrivateKey]:
    return {algorithm: generate(algorithm) for algorithm in ALGORITHMS}


class TestPublicKeys:
    @pytest.mark.parametrize(
        ("algorithm", "members"),
        [("ES256", {"kty", "crv", "x", "y"}), ("RS256", {"kty", "n", "e"}), ("EdDSA", {"kty", "crv", "x"})],
    )
    def test_show_their_public_members_and_what_they_are_for(
        self, algorithm: Algorithm, members: set[str], private_keys: dict[Algorithm, PrivateKey]
    ) -> None:
        jwk = public_jwk(private_keys[algorithm], algorithm)
        assert jwk.keys() == members | {"kid", "use", "alg"}
        assert (jwk["use"], jwk["alg"]) == ("sig", algorithm)

    def test_of_rsa_have_at_least_3072_bits(self, private_keys: dict[Algorithm, PrivateKey]) -> None:
        key = private_keys["RS256"]
        assert isinstance(key, rsa.RSAPrivateKey)
        assert key.key_size == RSA_BITS >= 3072

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_are_published_without_any_private_member(
        self, algorithm: Algorithm, store: SqlStore, clock: FakeClock
    ) -> None:
        ring = ring_of(store, clock, algorithm=algorithm)
        ring.ensure()
        ring.rotate("ES256")
        jwks = ring.jwks()
        assert jwks.keys() == {"keys"}
        assert [key["alg"] for key in jwks["keys"]] == [algorithm, "ES256"]
        assert len({key["kid"] for key in jwks["keys"]}) == 2
        assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & {member for key in jwks["keys"] for member in key}


def signing_key(number: int, activates: timedelta) -> SigningKey:
    return SigningKey(
        kid=f"key {number}",
        number=number,
        algorithm="ES256",
        public_jwk={},
        sealed_private_key=b"canary",
        created_at=START,
        activates_at=START + activates,
    )


FIRST = signing_key(1, timedelta(0))
SECOND = signing_key(2, timedelta(minutes=10))
THIRD = signing_key(3, timedelta(minutes=20))
EARLY_THIRD = signing_key(3, timedelta(minutes=5))  # made when the propagation time had been set shorter
LAST_TOKEN = MAX_ACCESS_TTL + SKEW


class TestCurrentKey:
    @pytest.mark.parametrize(
        ("keys", "after", "expected"),
        [
            ([], timedelta(0), None),
            ([FIRST], timedelta(0), FIRST),
            ([FIRST], timedelta(days=1000), FIRST),
            ([FIRST], -TICK, None),
            ([FIRST, SECOND], timedelta(0), FIRST),
            ([FIRST, SECOND], timedelta(minutes=10) - TICK, FIRST),
            ([FIRST, SECOND], timedelta(minutes=10), SECOND),
            ([FIRST, SECOND, THIRD], timedelta(minutes=15), SECOND),
            ([FIRST, SECOND, THIRD], timedelta(minutes=20), THIRD),
            ([FIRST, SECOND, EARLY_THIRD], timedelta(minutes=7), EARLY_THIRD),
            ([FIRST, SECOND, EARLY_THIRD], timedelta(minutes=12), EARLY_THIRD),
        ],
    )
    def test_is_the_newest_whose_time_has_come(
        self, keys: list[SigningKey], after: timedelta, expected: SigningKey | None
    ) -> None:
        assert current(keys, START + after) is expected


class TestRetiredKeys:
    @pytest.mark.parametrize(
        ("keys", "after", "expected"),
        [
            ([], timedelta(0), []),
            ([FIRST], timedelta(days=1000), []),
            ([FIRST, SECOND], timedelta(0), []),
            ([FIRST, SECOND], timedelta(minutes=10), []),
            ([FIRST, SECOND], timedelta(minutes=10) + LAST_TOKEN - TICK, []),
            ([FIRST, SECOND], timedelta(minutes=10) + LAST_TOKEN, [FIRST]),
            ([FIRST, SECOND], timedelta(days=1000), [FIRST]),
            ([FIRST, SECOND, THIRD], timedelta(minutes=10) + LAST_TOKEN, [FIRST]),
            ([FIRST, SECOND, THIRD], timedelta(minutes=20) + LAST_TOKEN - TICK, [FIRST]),
            ([FIRST, SECOND, THIRD], timedelta(minutes=20) + LAST_TOKEN, [FIRST, SECOND]),
            ([SECOND, THIRD], timedelta(days=1000), [SECOND]),
            ([FIRST, THIRD], timedelta(minutes=10) + LAST_TOKEN, []),
            ([FIRST, THIRD], timedelta(minutes=20) + LAST_TOKEN, [FIRST]),
        ],
    )
    def test_are_those_whose_last_token_has_run_out(
        self, keys: list[SigningKey], after: timedelta, expected: list[SigningKey]
    ) -> None:
        assert retired(keys, START + after) == expected

    def test_outlive_the_longest_token_that_they_can_have_signed(self) -> None:
        last_signature = SECOND.activates_at - TICK
        assert retired([FIRST, SECOND], last_signature + MAX_ACCESS_TTL) == []


class TestRing:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_signs_with_a_key_that_it_publishes_and_verifies_with(
        self, algorithm: Algorithm, store: SqlStore, clock: FakeClock
    ) -> None:
        ring = ring_of(store, clock, algorithm=algorithm)
        key, private_key = ring.signer()
        assert key.algorithm == algorithm
        assert key.public_jwk == public_jwk(private_key, algorithm)
        assert ring.jwks() == {"keys": [key.public_jwk]}
        verifier = ring.verifier(key.kid)
        assert verifier is not None
        assert verifier.algorithm_name == algorithm

    def test_makes_one_first_key_however_often_it_is_asked(self, store: SqlStore, clock: FakeClock) -> None:
        ring, other = ring_of(store, clock), ring_of(store, clock)
        ring.ensure()
        ring.ensure()
        other.ensure()
        (key,) = ring.keys()
        assert key.number == 1
        assert ring.signer()[0] == other.signer()[0]

    def test_makes_one_first_key_for_processes_that_start_together(self, store: SqlStore, clock: FakeClock) -> None:
        processes = 4
        meeting = MeetingStore(store, processes)
        rings = [ring_of(meeting, clock) for _ in range(processes)]
        together([ring.ensure for ring in rings])
        assert len(rings[0].keys()) == 1
        assert len({ring.signer()[0].kid for ring in rings}) == 1

    def test_rotates_once_for_processes_that_find_it_due_at_the_same_moment(
        self, store: SqlStore, clock: FakeClock
    ) -> None:
        """Whoever asks before making its key finds it due, also while another process is making one."""
        processes = 4
        meeting = MeetingStore(store, processes)
        rings = [ring_of(meeting, clock) for _ in range(processes)]
        together([ring.ensure for ring in rings])
        clock.at = START + timedelta(days=30)
        meeting.meet_again()
        together([ring.rotate_when_due for ring in rings])
        first, second = rings[0].keys()
        assert (first.number, second.number) == (1, 2)

    def test_publishes_waits_signs_and_retires(self, store: SqlStore, clock: FakeClock) -> None:
        ring = ring_of(store, clock)
        old = ring.signer()[0]

        new = ring.rotate()
        assert published(ring) == [old.kid, new.kid]
        assert ring.verifier(new.kid) is not None
        assert ring.signer()[0] == old

        clock.at = START + PROPAGATION - TICK
        assert ring.signer()[0] == old
        clock.at = START + PROPAGATION
        assert ring.signer()[0] == new
        assert published(ring) == [old.kid, new.kid]

        clock.at = START + PROPAGATION + LAST_TOKEN - TICK
        assert ring.verifier(old.kid) is not None
        clock.at = START + PROPAGATION + LAST_TOKEN + REFRESH
        assert ring.verifier(old.kid) is None
        assert published(ring) == [new.kid]

    def test_forgets_a_retired_private_key_at_the_next_rotation(self, store: SqlStore, clock: FakeClock) -> None:
        ring = ring_of(store, clock)
        old = ring.signer()[0]
        new = ring.rotate()
        clock.at = START + PROPAGATION + LAST_TOKEN
        newest = ring.rotate()
        with store.reading() as read:
            assert [key.kid for key in read.keys.all()] == [new.kid, newest.kid]
        assert old.kid not in published(ring)

    def test_rotates_to_another_algorithm(self, store: SqlStore, clock: FakeClock) -> None:
        ring = ring_of(store, clock)
        ring.ensure()
        new = ring.rotate("EdDSA")
        assert ring.signer()[0].algorithm == "ES256"
        clock.advance(minutes=10)
        assert ring.signer()[0] == new
        assert ring.signer()[0].algorithm == "EdDSA"

    def test_signs_where_the_clock_is_behind_that_of_the_maker_of_the_first_key(self, store: SqlStore) -> None:
        ring_of(store, FakeClock()).ensure()
        behind = ring_of(store, FakeClock(START - timedelta(seconds=1)))
        assert behind.signer()[0].kid == published(behind)[0]

    def test_goes_on_reading_after_the_clock_went_back(self, store: SqlStore, clock: FakeClock) -> None:
        ring, other = ring_of(store, clock), ring_of(store, clock)
        ring.ensure()
        other.ensure()
        clock.advance(hours=-1)
        new = other.rotate()
        clock.advance(minutes=1)
        assert ring.verifier(new.kid) is not None


class TestTwoRingsOverOneStore:
    def test_agree_after_the_refresh_interval(self, store: SqlStore, clock: FakeClock) -> None:
        ring, other = ring_of(store, clock), ring_of(store, clock)
        old = other.signer()[0]
        ring.ensure()
        new = ring.rotate()
        clock.at = START + REFRESH - TICK
        assert published(other) == [old.kid]
        clock.at = START + REFRESH
        assert published(other) == published(ring) == [old.kid, new.kid]

    def test_know_a_key_long_before_either_signs_with_it(self) -> None:
        assert REFRESH + timedelta(seconds=300) < PROPAGATION  # 300 seconds: how long others cache the JWKS

    def test_never_sign_with_different_keys(self, store: SqlStore, clock: FakeClock) -> None:
        ring, other = ring_of(store, clock), ring_of(store, clock)
        ring.ensure()
        other.ensure()
        ring.rotate()
        for _ in range(100):
            clock.advance(seconds=10)
            assert ring.signer()[0].kid == other.signer()[0].kid

    def test_find_each_others_new_key_at_once(self, store: SqlStore, clock: FakeClock) -> None:
        ring, other = ring_of(store, clock), ring_of(store, clock)
        ring.ensure()
        other.ensure()
        new = ring.rotate()
        clock.advance(seconds=1)
        assert other.verifier(new.kid) is not None

    def test_ask_the_store_once_a_cooldown_for_kids_that_nobody_knows(self, store: SqlStore, clock: FakeClock) -> None:
        counting = CountingStore(store)
        ring = ring_of(counting, clock)
        ring.ensure()
        clock.at += UNKNOWN_KID_COOLDOWN
        before = counting.readings
        for number in range(100):
            assert ring.verifier(f"junk {number}") is None
        assert counting.readings == before + 1
        clock.at += UNKNOWN_KID_COOLDOWN - TICK
        ring.verifier("junk")
        assert counting.readings == before + 1
        clock.at += TICK
        ring.verifier("junk")
        assert counting.readings == before + 2

    def test_do_not_ask_the_store_for_kids_that_they_know(self, store: SqlStore, clock: FakeClock) -> None:
        counting = CountingStore(store)
        ring = ring_of(counting, clock)
        kid = ring.signer()[0].kid
        before = counting.readings
        clock.at += REFRESH - TICK
        for _ in range(100):
            ring.signer()
            ring.verifier(kid)
            ring.jwks()
        assert counting.readings == before

    def test_go_on_with_what_they_know_while_the_store_is_away(self, store: SqlStore, clock: FakeClock) -> None:
        counting = CountingStore(store)
        ring = ring_of(counting, clock)
        key = ring.signer()[0]
        counting.is_away = True
        clock.at += REFRESH
        assert ring.verifier(key.kid) is not None
        assert ring.signer()[0] == key
        assert published(ring) == [key.kid]

    def test_never_call_a_kid_unknown_while_the_store_is_away(self, store: SqlStore, clock: FakeClock) -> None:
        counting = CountingStore(store)
        ring = ring_of(counting, clock)
        ring.ensure()
        counting.is_away = True
        clock.at += UNKNOWN_KID_COOLDOWN
        with pytest.raises(DatabaseUnavailable):
            ring.verifier("made by another process a moment ago")


class TestSeal:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_opens_what_it_closed(self, algorithm: Algorithm, private_keys: dict[Algorithm, PrivateKey]) -> None:
        key = private_keys[algorithm]
        opened = Seal([SECRET]).open(Seal([SECRET]).close(key, "kid"), "kid")
        assert public_jwk(opened, algorithm) == public_jwk(key, algorithm)

    @pytest.mark.parametrize(
        ("secret", "kid", "damage"),
        [
            (bytes(32), "kid", lambda sealed: sealed),
            (SECRET, "another kid", lambda sealed: sealed),
            (SECRET, "", lambda sealed: sealed),
            (SECRET, "kid", lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])),
            (SECRET, "kid", lambda sealed: bytes([sealed[0] ^ 1]) + sealed[1:]),
            (SECRET, "kid", lambda sealed: sealed[:60] + bytes([sealed[60] ^ 1]) + sealed[61:]),
            (SECRET, "kid", lambda sealed: sealed[:-1]),
            (SECRET, "kid", lambda sealed: sealed[:20]),
            (SECRET, "kid", lambda sealed: sealed[:12]),
            (SECRET, "kid", lambda sealed: sealed[:1]),
            (SECRET, "kid", lambda _: b""),
            (SECRET, "kid", lambda sealed: sealed + b"\x00"),
        ],
        ids=[
            "another secret",
            "another kid",
            "no kid",
            "changed tag",
            "changed nonce",
            "changed text",
            "a byte short",
            "tag cut off",
            "nonce alone",
            "one byte",
            "nothing",
            "a byte long",
        ],
    )
    def test_stays_shut_under_another_secret_or_kid_or_when_damaged(
        self,
        secret: bytes,
        kid: str,
        damage: Callable[[bytes], bytes],
        private_keys: dict[Algorithm, PrivateKey],
    ) -> None:
        sealed = Seal([SECRET]).close(private_keys["ES256"], "kid")
        with pytest.raises(KeysLocked):
            Seal([secret]).open(damage(sealed), kid)

    def test_hides_the_key_and_never_writes_the_same_twice(self) -> None:
        key = generate("EdDSA")
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        one, another = Seal([SECRET]).close(key, "kid"), Seal([SECRET]).close(key, "kid")
        assert one != another
        assert key.private_bytes_raw() not in one

    def test_under_another_secret_leaves_a_ring_that_neither_signs_nor_verifies(
        self, store: SqlStore, clock: FakeClock
    ) -> None:
        """Nothing but the secret tells such a key from one that somebody has put into the database."""
        kid = ring_of(store, clock).signer()[0].kid
        ring = ring_of(store, clock, secret=bytes(32))
        with pytest.raises(KeysLocked):
            ring.verifier(kid)
        assert ring.jwks() == {"keys": []}
        with pytest.raises(KeysLocked):
            ring.signer()
        assert len(ring.keys()) == 1

    def test_under_another_secret_lets_no_ring_rotate(self, store: SqlStore, clock: FakeClock) -> None:
        """The new key could be opened by nobody else, and would break every login as soon as it signs."""
        ring_of(store, clock).ensure()
        ring = ring_of(store, clock, secret=bytes(32))
        with pytest.raises(KeysLocked):
            ring.rotate()
        clock.advance(days=40)
        ring.rotate_when_due()
        assert ring.is_locked
        assert len(ring.keys()) == 1

    def test_under_another_secret_of_a_later_key_leaves_the_earlier_one_in_its_place(
        self, store: SqlStore, clock: FakeClock
    ) -> None:
        """It signs on, is published on, and is succeeded when it is due."""
        ring = ring_of(store, clock)
        first = ring.signer()[0]
        private_key = generate("ES256")
        kid = public_jwk(private_key, "ES256")["kid"]
        foreign = replace(
            first,
            kid=kid,
            number=2,
            public_jwk=public_jwk(private_key, "ES256"),
            sealed_private_key=Seal([bytes(32)]).close(private_key, kid),
        )
        with store.begin() as work:
            work.keys.add(foreign)
            work.commit()
        for days in (0, 1, 28):
            clock.advance(days=days)
            ring = ring_of(store, clock)
            assert ring.signer()[0].kid == first.kid
            assert [key["kid"] for key in ring.jwks()["keys"]] == [first.kid]
            assert ring.verifier(kid) is None
            assert not ring.is_locked
        clock.advance(days=1)
        ring.rotate_when_due()
        clock.advance(hours=1)
        assert ring_of(store, clock).signer()[0].number == 3

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_binds_the_public_key_which_is_not_believed_when_it_was_changed_in_the_database_alone(
        self, algorithm: Algorithm, store: SqlStore, clock: FakeClock, private_keys: dict[Algorithm, PrivateKey]
    ) -> None:
        true, private_key = ring_of(store, clock, algorithm=algorithm).signer()
        theirs = {**public_jwk(private_keys[algorithm], algorithm), "kid": true.kid}
        with store.engine.begin() as connection:
            connection.execute(update(signing_keys).values(public_jwk=theirs))
        ring = ring_of(store, clock, algorithm=algorithm)
        verifier = ring.verifier(true.kid)
        assert verifier is not None
        signatures = [verifier.Algorithm.sign(b"a token", key) for key in (private_key, private_keys[algorithm])]
        assert [verifier.Algorithm.verify(b"a token", verifier.key, found) for found in signatures] == [True, False]
        assert ring.jwks() == {"keys": [true.public_jwk]}

    def test_leaves_no_sealed_key_in_a_repr(self) -> None:
        assert "canary" not in repr(replace(FIRST, sealed_private_key=b"canary"))


def published(ring: KeyRing) -> list[str]:
    return [key["kid"] for key in ring.jwks()["keys"]]


class CountingStore:
    """A store that counts the questions it is asked, and that can be away."""

    def __init__(self, store: SqlStore) -> None:
        self.begin, self.check, self.close = store.begin, store.check, store.close
        self.on_message, self.on_leftovers = store.on_message, store.on_leftovers
        self.erase_deleted = store.erase_deleted
        self._store = store
        self.readings = 0
        self.is_away = False

    @contextmanager
    def reading(self) -> Iterator[UnitOfWork]:
        if self.is_away:
            raise DatabaseUnavailable
        self.readings += 1
        with self._store.reading() as work:
            yield work


class MeetingStore:
    """A store whose first transactions begin only when all parties stand at its door, having read what was there."""

    def __init__(self, store: SqlStore, parties: int) -> None:
        self.reading, self.check, self.close = store.reading, store.check, store.close
        self.on_message, self.on_leftovers = store.on_message, store.on_leftovers
        self.erase_deleted = store.erase_deleted
        self._store = store
        self._parties = threading.Barrier(parties)

    def meet_again(self) -> None:
        self._parties.reset()

    @contextmanager
    def begin(self, account: uuid.UUID | None = None, *, turn_within: timedelta | None = None) -> Iterator[UnitOfWork]:
        with suppress(threading.BrokenBarrierError):
            self._parties.wait(timeout=2)
            self._parties.abort()
        with self._store.begin(account, turn_within=turn_within) as work:
            yield work


def together(works: list[Callable[[], Any]]) -> None:
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - shown below, whatever it is
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert errors == []
