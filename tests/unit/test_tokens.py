"""Access tokens as the service issues them, and what it alone asks of one: users, sessions, exact times.

What every reader must refuse stands in test_token_attacks.py.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from core.errors import InvalidToken
from core.sessions.refresh_tokens import RefreshTokens, new_seed
from core.settings.groups import MAX_ACCESS_TTL, Algorithm, TokenSettings
from core.sql_store import SqlStore
from core.tokens.access import Access, Login
from core.tokens.access_tokens import SKEW, AccessTokens, ClientClaims, UserClaims
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.users.model import User
from tests.support.clock import START, FakeClock
from tests.support.databases import copied_store
from tests.support.issuer import ABSENT, FakeTime, Issuer, base64url, bytes_of
from tests.support.token_attacks import P256_ORDER
from tests.support.token_readers import service_reader

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
ISSUER = "https://auth.example.com"
AUDIENCE = "https://api.example.com"
LIFETIME = timedelta(minutes=15)
TICK = timedelta(microseconds=1)
NOW = int(START.timestamp())
SESSION_ID = uuid.UUID("0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10")
USER = User(
    id=uuid.UUID("0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"),
    email="ann@example.com",
    email_verified=True,
    display_name="Ann Canary",
    roles=("admin",),
    is_active=True,
    created_at=START,
    updated_at=START,
)

LOGIN = Login(at=START, methods=("pwd",))
ACCESS = Access(scopes=(), audience=AUDIENCE)


@dataclass(frozen=True)
class Setup:
    """A service's tokens under a ring of its own."""

    clock: FakeClock
    ring: KeyRing
    tokens: AccessTokens

    def issue(self) -> str:
        return self.issue_until(self.clock.now() + LIFETIME)[0]

    def issue_until(self, end: datetime) -> tuple[str, datetime]:
        return self.tokens.issue(USER, SESSION_ID, LOGIN, ACCESS, now=self.clock.now(), not_after=end)

    def read(self, text: str) -> UserClaims:
        claims = self.tokens.verify(text)
        assert isinstance(claims, UserClaims)
        return claims

    def refuses(self, text: str) -> bool:
        try:
            self.tokens.verify(text)
        except InvalidToken:
            return True
        return False


def set_up(store: SqlStore, algorithm: Algorithm = "ES256", lifetime: timedelta = LIFETIME) -> Setup:
    clock = FakeClock()
    ring = KeyRing(store=store, clock=clock, seal=Seal([bytes(32)]), settings=TokenSettings(algorithm=algorithm))
    ring.ensure()
    tokens = AccessTokens(
        ring=ring, clock=clock, issuer=ISSUER, settings=TokenSettings(audiences=(AUDIENCE,), access_ttl=lifetime)
    )
    return Setup(clock, ring, tokens)


@pytest.fixture(scope="module")
def setups(sqlite_template: Path, database_folder: Path) -> Iterator[dict[Algorithm, Setup]]:
    """One for each algorithm; making an RSA key takes its time."""
    with ExitStack() as stack:
        yield {
            name: set_up(stack.enter_context(copied_store(sqlite_template, database_folder)), name)
            for name in ALGORITHMS
        }


@pytest.fixture(params=ALGORITHMS)
def setup_of_each(request: pytest.FixtureRequest, setups: dict[Algorithm, Setup]) -> Setup:
    found = setups[request.param]
    found.clock.at = START
    return found


@pytest.fixture
def setup(setups: dict[Algorithm, Setup]) -> Setup:
    setups["ES256"].clock.at = START
    return setups["ES256"]


class TestIssuedTokens:
    def test_say_whom_and_what_session_they_speak_for(self, setup_of_each: Setup) -> None:
        token = setup_of_each.issue()
        claims = setup_of_each.read(token)
        assert (claims.user_id, claims.session_id) == (USER.id, SESSION_ID)
        assert claims.expires_at == START + LIFETIME
        assert claims.token_id == jwt.decode(token, options={"verify_signature": False})["jti"]

    def test_of_a_client_speak_for_it_and_no_session(self, setup_of_each: Setup) -> None:
        token, expires_at = setup_of_each.tokens.issue_to_client(
            "twc_orders", Access(scopes=("a", "b"), audience=AUDIENCE), now=START
        )
        claims = setup_of_each.tokens.verify(token)
        assert isinstance(claims, ClientClaims)
        assert (claims.subject, claims.client_id, claims.scope) == ("twc_orders", "twc_orders", "a b")
        assert (claims.issued_at, claims.expires_at) == (START, expires_at)

    def test_have_the_form_of_rfc_9068_and_no_personal_data(self, setup_of_each: Setup) -> None:
        header, payload, _ = setup_of_each.issue().split(".")
        key, _ = setup_of_each.ring.signer()
        assert json.loads(bytes_of(header)) == {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}
        claims = json.loads(bytes_of(payload))
        assert uuid.UUID(claims.pop("jti")).version == 4
        assert claims == {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(USER.id),
            "client_id": "twinauth",
            "iat": NOW,
            "exp": NOW + 900,
            "sid": str(SESSION_ID),
            "auth_time": NOW,
            "amr": ["pwd"],
            "roles": ["admin"],
        }

    def test_are_never_the_same_twice(self, setup: Setup) -> None:
        assert len({setup.tokens.verify(setup.issue()).token_id for _ in range(100)}) == 100

    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")
    def test_verify_elsewhere_from_the_published_keys_alone(self, setup_of_each: Setup) -> None:
        keys = KeySet.import_key_set(setup_of_each.ring.jwks())  # type: ignore[arg-type]  # a JSON object is one
        algorithm = setup_of_each.ring.signer()[0].algorithm
        token = joserfc_jwt.decode(setup_of_each.issue(), keys, algorithms=[algorithm])
        assert token.claims["sub"] == str(USER.id)

    @pytest.mark.parametrize("left", [timedelta(minutes=5), timedelta(seconds=0.3), timedelta(seconds=61.9), LIFETIME])
    def test_never_outlive_their_session(self, setup: Setup, left: timedelta) -> None:
        setup.clock.advance(seconds=0.7)
        now = setup.clock.now()
        token, expires_at = setup.issue_until(now + left)
        assert expires_at <= now + left
        setup.clock.at = now + left
        assert setup.refuses(token)

    @pytest.mark.parametrize("fraction", [0, 0.000001, 0.5, 0.999999])
    def test_live_exactly_until_the_time_that_is_told(self, setup: Setup, fraction: float) -> None:
        setup.clock.advance(seconds=fraction)
        now = setup.clock.now()
        token, expires_at = setup.issue_until(now + timedelta(days=1))
        assert timedelta(minutes=14, seconds=59) < expires_at - now <= LIFETIME
        setup.clock.at = expires_at - TICK
        assert setup.tokens.verify(token).expires_at == expires_at
        setup.clock.at = expires_at
        assert setup.refuses(token)

    def test_of_the_longest_life_that_can_be_set_are_accepted(self, new_store: Callable[[], SqlStore]) -> None:
        setup = set_up(new_store(), lifetime=MAX_ACCESS_TTL)
        setup.clock.advance(seconds=0.7)
        now = setup.clock.now()
        token, _ = setup.issue_until(now + timedelta(days=1))
        assert setup.read(token).user_id == USER.id

    def test_of_a_key_that_left_the_ring_are_refused(self, new_store: Callable[[], SqlStore]) -> None:
        setup = set_up(new_store())
        token = setup.issue()
        setup.ring.rotate()
        setup.clock.advance(minutes=14)
        assert setup.read(token).user_id == USER.id
        kids = {jwt.get_unverified_header(text)["kid"] for text in (token, setup.issue())}
        assert len(kids) == 2
        setup.clock.advance(days=1)
        setup.ring.rotate()
        setup.clock.at = START
        assert setup.refuses(token)

    def test_are_checked_after_somebody_has_peeked_without_checking(self, setup: Setup) -> None:
        token = setup.issue()
        setup.clock.advance(hours=1)
        options: Any = {"verify_signature": False, "verify_exp": False}
        jwt.decode(token, options=options)
        assert setup.refuses(token)

    def test_that_are_twins_in_ecdsa_name_the_same_token_and_session(self, setup: Setup) -> None:
        """(r, n - s) verifies wherever (r, s) does: so a token is known by its jti and sid, never by its text."""
        head, signature = setup.issue().rsplit(".", 1)
        raw = bytes_of(signature)
        twin = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
        assert setup.read(f"{head}.{base64url(twin)}") == setup.read(f"{head}.{signature}")

    def test_are_none_of_the_other_secrets(self, setup: Setup) -> None:
        refresh_token = RefreshTokens([bytes(32)]).make(SESSION_ID, new_seed(), 0)
        for text in (refresh_token, refresh_token.removeprefix("twr_"), str(SESSION_ID), str(USER.id), "secret"):
            assert setup.refuses(text)


@dataclass(frozen=True)
class Foreign:
    """Tokens that say anything at all, under a key that the service trusts."""

    issuer: Issuer
    clock: FakeClock
    tokens: AccessTokens

    def accepts(self, **changes: Any) -> bool:
        try:
            self.tokens.verify(self.issuer.token(**changes))
        except InvalidToken:
            return False
        return True


@pytest.fixture
def foreign(new_store: Callable[[], SqlStore], clock: FakeClock) -> Foreign:
    issuer = Issuer(clock=FakeTime())
    found = Foreign(issuer, clock, service_reader(issuer, new_store(), clock))
    assert found.accepts()
    return found


class TestClaims:
    def test_name_a_user_and_a_session_of_ours(self, foreign: Foreign) -> None:
        user, session = str(USER.id), str(SESSION_ID)
        for sub in ("ann@example.com", "1", user[:-1], user + "0", [user], "\x00"):
            assert not foreign.accepts(sub=sub), sub
        for sid in ("1", session[:-1], session + "0", [session]):
            assert not foreign.accepts(sid=sid), sid

    def test_without_a_session_are_those_of_a_client_alone(self, foreign: Foreign) -> None:
        assert not foreign.accepts(sid=ABSENT)
        assert foreign.accepts(sid=ABSENT, sub="twc_orders", client_id="twc_orders")

    def test_that_are_not_ours_are_ignored(self, foreign: Foreign) -> None:
        more = foreign.issuer.token(email="eve@example.com", admin=True, nbf=NOW)
        assert foreign.tokens.verify(more) == foreign.tokens.verify(foreign.issuer.token())


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class TestTimes:
    @pytest.mark.parametrize(
        ("claims", "now"),
        [
            pytest.param({}, START, id="as it is issued"),
            pytest.param({}, at(900) - TICK, id="just before it expires"),
            pytest.param({"iat": NOW + SKEW.seconds}, START, id="from a clock that is a little ahead"),
            pytest.param({"exp": NOW + 3600}, START, id="of the longest life"),
            pytest.param({"exp": NOW + 3600}, at(3600) - TICK, id="of the longest life, at its end"),
            pytest.param({"nbf": NOW}, START, id="not before now"),
            pytest.param({"nbf": 0}, START, id="not before 1970"),
            pytest.param({"nbf": NOW + 5}, at(5), id="not before a little later, a little later"),
        ],
    )
    def test_within_their_bounds_are_accepted(self, foreign: Foreign, claims: dict[str, int], now: datetime) -> None:
        foreign.clock.at = now
        assert foreign.accepts(**claims)

    @pytest.mark.parametrize(
        ("claims", "now"),
        [
            pytest.param({}, at(900), id="as it expires"),
            pytest.param({}, at(901), id="a second after it expires"),
            pytest.param({}, at(-SKEW.seconds) - TICK, id="before it is issued"),
            pytest.param({"nbf": NOW + 1}, START, id="not before a second from now"),
        ],
    )
    def test_outside_of_their_bounds_are_refused(self, foreign: Foreign, claims: dict[str, int], now: datetime) -> None:
        foreign.clock.at = now
        assert not foreign.accepts(**claims)
