"""Access tokens: one form is accepted, and everything else is refused alike, at once, and without asking anybody."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import socket
import string
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any, get_args

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwt.algorithms import get_default_algorithms

from core.errors import InvalidToken
from core.sessions.refresh_tokens import RefreshTokens, new_seed
from core.settings import MAX_ACCESS_TTL, Algorithm, TokenSettings
from core.tokens.access_tokens import MAX_CHARACTERS, SKEW, AccessTokens, ClientClaims, UserClaims
from core.tokens.key_material import Seal, generate, public_jwk
from core.tokens.key_ring import KeyRing
from core.users.model import User
from tests.storage.memory import MemoryStore
from tests.support.clock import START, FakeClock

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
ABSENT = object()
P256_ORDER = ec.SECP256R1().group_order
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_of(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@dataclass(frozen=True)
class House:
    """A service's tokens, with the means to sign anything at all under its real key."""

    store: MemoryStore
    clock: FakeClock
    ring: KeyRing
    tokens: AccessTokens

    def issue(self) -> str:
        return self.tokens.issue(USER, SESSION_ID, now=self.clock.now(), not_after=self.clock.now() + LIFETIME)[0]

    def header(self, **changes: Any) -> dict[str, Any]:
        key, _ = self.ring.signer()
        return changed({"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(USER.id),
            "client_id": "twinauth",
            "iat": NOW,
            "exp": NOW + 900,
            "jti": "a token",
            "sid": str(SESSION_ID),
            "roles": [],
        }
        return changed(claims, changes)

    def sign(self, header: Any = None, payload: Any = None) -> str:
        """A compact JWS under the ring's own key, whatever it says."""
        key, private_key = self.ring.signer()
        signing_input = self.signing_input(header, payload)
        signature = get_default_algorithms()[key.algorithm].sign(signing_input.encode(), private_key)
        return f"{signing_input}.{base64url(signature)}"

    def signing_input(self, header: Any = None, payload: Any = None) -> str:
        header = self.header() if header is None else header
        payload = self.claims() if payload is None else payload
        return f"{base64url(encoded(header))}.{base64url(encoded(payload))}"

    def speaker(self, text: str) -> UserClaims:
        """What an accepted token of a user says."""
        claims = self.tokens.verify(text)
        assert isinstance(claims, UserClaims)
        return claims

    def refuses(self, text: str) -> bool:
        """Whether a token is refused, as every other is: with nothing to learn from it."""
        try:
            self.tokens.verify(text)
        except InvalidToken as error:
            return type(error) is InvalidToken and error.__suppress_context__ and error.text == InvalidToken.detail
        return False


def changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | changes).items() if value is not ABSENT}


def open_house(clock: FakeClock, algorithm: Algorithm) -> House:
    store = MemoryStore()
    seal = Seal([bytes(range(32))])
    ring = KeyRing(store=store, clock=clock, seal=seal, settings=TokenSettings(algorithm=algorithm))
    ring.ensure()
    tokens = AccessTokens(
        ring=ring, clock=clock, issuer=ISSUER, audience=AUDIENCE, client_id="twinauth", lifetime=LIFETIME
    )
    return House(store, clock, ring, tokens)


@pytest.fixture(scope="module")
def houses() -> dict[Algorithm, House]:
    """One for each algorithm; making and opening an RSA key takes its time."""
    return {algorithm: open_house(FakeClock(), algorithm) for algorithm in ALGORITHMS}


@pytest.fixture
def house_of(houses: dict[Algorithm, House]) -> Callable[[Algorithm], House]:
    for house in houses.values():
        house.clock.at = START
    return houses.__getitem__


@pytest.fixture
def house(house_of: Callable[[Algorithm], House]) -> House:
    house = house_of("ES256")
    # The control without which a refusal says nothing: the same token unchanged is accepted.
    assert house.speaker(house.sign()).session_id == SESSION_ID
    return house


@pytest.fixture(params=ALGORITHMS)
def any_house(request: pytest.FixtureRequest, house_of: Callable[[Algorithm], House]) -> House:
    house = house_of(request.param)
    assert house.speaker(house.sign()).session_id == SESSION_ID
    return house


class TestIssuedTokens:
    def test_say_whom_and_what_session_they_speak_for(self, any_house: House) -> None:
        token = any_house.issue()
        claims = any_house.speaker(token)
        assert (claims.user_id, claims.session_id) == (USER.id, SESSION_ID)
        assert claims.expires_at == START + LIFETIME
        assert claims.token_id == jwt.decode(token, options={"verify_signature": False})["jti"]

    def test_of_a_client_speak_for_it_and_no_session(self, any_house: House) -> None:
        token, expires_at = any_house.tokens.issue_to_client("twc_orders", ["a", "b"], now=any_house.clock.now())
        claims = any_house.tokens.verify(token)
        assert isinstance(claims, ClientClaims)
        assert (claims.subject, claims.client_id, claims.scope) == ("twc_orders", "twc_orders", "a b")
        assert (claims.issued_at, claims.expires_at) == (START, expires_at)

    def test_have_the_form_of_rfc_9068_and_no_personal_data(self, any_house: House) -> None:
        header, payload, _ = any_house.issue().split(".")
        assert json.loads(bytes_of(header)) == any_house.header()
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
            "roles": ["admin"],
        }

    def test_are_never_the_same_twice(self, house: House) -> None:
        assert len({house.tokens.verify(house.issue()).token_id for _ in range(100)}) == 100

    @pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")
    def test_verify_elsewhere_from_the_published_keys_alone(self, any_house: House) -> None:
        keys = KeySet.import_key_set(any_house.ring.jwks())  # type: ignore[arg-type]
        algorithm = any_house.header()["alg"]
        token = joserfc_jwt.decode(any_house.issue(), keys, algorithms=[algorithm])
        assert token.claims["sub"] == str(USER.id)

    @pytest.mark.parametrize("left", [timedelta(minutes=5), timedelta(seconds=0.3), timedelta(seconds=61.9), LIFETIME])
    def test_never_outlive_their_session(self, house: House, left: timedelta) -> None:
        house.clock.advance(seconds=0.7)
        now = house.clock.now()
        token, expires_at = house.tokens.issue(USER, SESSION_ID, now=now, not_after=now + left)
        assert expires_at <= now + left
        house.clock.at = now + left
        assert house.refuses(token)

    @pytest.mark.parametrize("fraction", [0, 0.000001, 0.5, 0.999999])
    def test_live_exactly_until_the_time_that_is_told(self, house: House, fraction: float) -> None:
        house.clock.advance(seconds=fraction)
        now = house.clock.now()
        token, expires_at = house.tokens.issue(USER, SESSION_ID, now=now, not_after=now + timedelta(days=1))
        assert timedelta(minutes=14, seconds=59) < expires_at - now <= LIFETIME
        house.clock.at = expires_at - TICK
        assert house.tokens.verify(token).expires_at == expires_at
        house.clock.at = expires_at
        assert house.refuses(token)

    def test_of_the_longest_life_that_can_be_set_are_accepted(self, house: House) -> None:
        tokens = AccessTokens(
            ring=house.ring,
            clock=house.clock,
            issuer=ISSUER,
            audience=AUDIENCE,
            client_id="twinauth",
            lifetime=MAX_ACCESS_TTL,
        )
        house.clock.advance(seconds=0.7)
        now = house.clock.now()
        token, _ = tokens.issue(USER, SESSION_ID, now=now, not_after=now + timedelta(days=1))
        assert tokens.verify(token).subject == str(USER.id)


def changes(**tables: Iterable[Any]) -> list[Any]:
    """One parameter for each value of each member."""
    return [
        pytest.param({name: value}, id=f"{name} {'absent' if value is ABSENT else ascii(value)[:40]}")
        for name, values in tables.items()
        for value in values
    ]


NOT_A_STRING: tuple[Any, ...] = (ABSENT, None, "", 0, 1, 1.5, True, False, [], {}, [""], {"a": "b"})
NOT_A_TIME: tuple[Any, ...] = (
    ABSENT,
    None,
    "",
    str(NOW + 60),
    f" {NOW + 60} ",
    "9_999_999_999",
    "\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669\u0669",
    NOW + 60.5,
    float(NOW + 60),
    True,
    False,
    [],
    [NOW + 60],
    {},
    -1,
    2**40,
    2**63,
    10**400,
)


class TestHeaders:
    @pytest.mark.parametrize(
        "change",
        changes(
            alg=(
                "none", "None", "NONE", "nOnE", "es256", "Es256", "ES256 ", " ES256", "ES256\x00", "ES384", "ES512",
                "ES256K", "RS256", "PS256", "EdDSA", "Ed25519", "HS256", "dir", "RSA-OAEP", "A128KW", ["ES256"],
                {"ES256": 1}, *NOT_A_STRING,
            ),
            typ=(
                "JWT", "jwt", "at", "at+jw", "at+jwt2", "at+jwt ", " at+jwt", "at+jwt;a=b", "rt+jwt", "id+jwt",
                "secevent+jwt", "logout+jwt", "dpop+jwt", "application/jwt", "application/application/at+jwt",
                "application/", "text/at+jwt", "at+jwt\x00", "\uff41t+jwt", "JOSE", *NOT_A_STRING,
            ),
            kid=(
                "unknown", "a" * 43, "a" * 65, "a" * 4000, "../../../../dev/null", "/dev/null", "file:///dev/null",
                "https://127.0.0.1:9/key", "' OR 1=1 --", "1; DROP TABLE signing_keys", "\x00", "\u00e9", "*", "%",
                *NOT_A_STRING,
            ),
        ),
    )  # fmt: skip
    def test_with_another_value_are_refused(self, house: House, change: dict[str, Any]) -> None:
        assert house.refuses(house.sign(house.header(**change)))

    @pytest.mark.parametrize(
        "typ", ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+jwt", "APPLICATION/AT+JWT"]
    )
    def test_name_the_type_in_either_form_and_any_case(self, house: House, typ: str) -> None:
        assert house.speaker(house.sign(house.header(typ=typ))).user_id == USER.id

    @pytest.mark.parametrize(
        "respell",
        [str.lower, str.upper, str.swapcase, lambda kid: f"{kid}=", lambda kid: f" {kid}", lambda kid: f"{kid}\x00"],
        ids=["lower", "upper", "swapped", "padded", "space", "NUL"],
    )
    def test_name_the_key_exactly(self, house: House, respell: Callable[[str], str]) -> None:
        assert house.refuses(house.sign(house.header(kid=respell(house.header()["kid"]))))

    @pytest.mark.parametrize(
        "change",
        changes(
            jku=["https://auth.example.com/.well-known/jwks.json", ISSUER, None],
            x5u=["https://auth.example.com/cert.pem"],
            x5c=[["MIIB"], []],
            x5t=["abc"],
            jwk=[{"kty": "oct", "k": "AAAA"}, {}, None],
            crit=[["exp"], ["b64"], ["alg"], [], None, "exp", {}],
            b64=[False, True, None],
            zip=["DEF", None],
            cty=["JWT", "at+jwt", None],
            enc=["A256GCM"],
            epk=[{}],
            p2c=[10**9],
            iss=[ISSUER],
            nonce=["abc"],
            exp=[NOW + 60],
            url=["https://example.com"],
            **{"": [""], "ALG": ["ES256"], "kid ": ["a"], "Kid": ["a"]},
        ),
    )
    def test_with_any_other_member_are_refused(self, house: House, change: dict[str, Any]) -> None:
        assert house.refuses(house.sign(house.header(**change)))

    def test_that_make_the_payload_opaque_are_refused(self, house: House) -> None:
        assert house.refuses(house.sign(house.header(b64=False, crit=["b64"])))
        assert house.refuses(house.sign(house.header(zip="DEF", crit=["zip"])))

    @pytest.mark.parametrize(
        "rewrite",
        [
            lambda text: text.replace('{"alg"', '{"alg": "none", "alg"'),
            lambda text: text.replace('"}', '", "alg": "none"}'),
            lambda text: text.replace('"}', '", "alg": "ES256"}'),
            lambda text: text.replace('"}', '", "kid": "other"}'),
            lambda text: text.replace('"}', '", "\\u0074yp": "JWT"}'),
            lambda text: f"[{text}]",
            lambda text: text + "x",
            lambda text: text + text,
            lambda text: text[:-1],
            lambda text: text.replace("}", ",}"),
            lambda text: text.replace('"', "'"),
            json.dumps,
            lambda _: "null",
            lambda _: "{}",
            lambda _: '"ES256"',
            lambda _: "1",
            lambda text: "\ufeff" + text,
            lambda text: text.replace("at+jwt", "\\ud800"),
            lambda text: text[:-1] + ', "\\ud800": 1}',
        ],
    )
    def test_that_two_readers_could_read_differently_are_refused(
        self, house: House, rewrite: Callable[[str], str]
    ) -> None:
        header = json.dumps(house.header())
        assert not house.refuses(house.sign(header.encode()))
        assert house.refuses(house.sign(rewrite(header).encode()))

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_in_another_encoding_are_refused(self, house: House, encoding: str) -> None:
        assert house.refuses(house.sign(json.dumps(house.header()).encode(encoding)))

    def test_that_are_valid_are_read_whatever_their_order_and_spaces(self, house: House) -> None:
        header = json.dumps(dict(reversed(house.header().items())), indent=4).encode()
        assert house.speaker(house.sign(header)).user_id == USER.id

    def test_make_nobody_fetch_anything(self, house: House) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/key"
            for member in ({"jku": url}, {"x5u": url}, {"kid": url}, {"jku": url, "kid": url}, {"iss": url}):
                assert house.refuses(house.sign(house.header(**member)))
            assert house.refuses(house.sign(payload=house.claims(iss=url, jku=url)))
            with pytest.raises(BlockingIOError):
                listener.accept()


class TestForeignKeys:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_sign_nothing_that_is_accepted(
        self, house_of: Callable[[Algorithm], House], algorithm: Algorithm, attackers: dict[Algorithm, Any]
    ) -> None:
        house = house_of(algorithm)
        assert house.refuses(forged(house, algorithm, attackers[algorithm]))

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("attacker", ALGORITHMS)
    def test_cannot_bring_themselves_along(
        self,
        house_of: Callable[[Algorithm], House],
        algorithm: Algorithm,
        attacker: Algorithm,
        attackers: dict[Algorithm, Any],
    ) -> None:
        house = house_of(algorithm)
        own = public_jwk(attackers[attacker], attacker)
        kid = house.header()["kid"]
        for header in (
            {"alg": attacker, "typ": "at+jwt", "kid": kid, "jwk": own},
            {"alg": attacker, "typ": "at+jwt", "kid": kid, "jwk": own | {"kid": kid}},
            {"alg": attacker, "typ": "at+jwt", "kid": own["kid"], "jwk": own},
            {"alg": attacker, "typ": "at+jwt", "kid": own["kid"]},
            {"alg": attacker, "typ": "at+jwt", "jwk": own},
            {"alg": attacker, "typ": "at+jwt", "kid": own},
            {"alg": attacker, "typ": "at+jwt", "kid": kid},
        ):
            assert house.refuses(forged(house, attacker, attackers[attacker], header))

    def test_that_left_the_ring_verify_nothing_more(self, clock: FakeClock) -> None:
        house = open_house(clock, "ES256")
        token = house.issue()
        house.ring.rotate()
        clock.advance(minutes=14)
        assert house.speaker(token).user_id == USER.id
        kids = {jwt.get_unverified_header(text)["kid"] for text in (token, house.issue())}
        assert len(kids) == 2
        clock.advance(days=1)
        house.ring.rotate()
        clock.at = START
        assert house.refuses(token)


@pytest.fixture(scope="module")
def attackers() -> dict[Algorithm, Any]:
    return {algorithm: generate(algorithm) for algorithm in ALGORITHMS}


def forged(house: House, algorithm: Algorithm, private_key: Any, header: Any = None) -> str:
    signing_input = house.signing_input(header)
    signature = get_default_algorithms()[algorithm].sign(signing_input.encode(), private_key)
    return f"{signing_input}.{base64url(signature)}"


def renderings(house: House) -> list[bytes]:
    """Every way to write down a public key that somebody might hand to HMAC as its secret."""
    key, private_key = house.ring.signer()
    public = private_key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found = [
        der,
        base64.b64encode(der),
        base64url(der).encode(),
        der.hex().encode(),
        pem,
        pem.strip(),
        pem.replace(b"\n", b"\r\n"),
        pem.replace(b"\n", b""),
        b"".join(pem.splitlines()[1:-1]),
        b"\n".join(pem.splitlines()[1:-1]),
        b"\n".join(pem.splitlines()[1:-1]) + b"\n",
    ]
    if key.algorithm == "RS256":
        found += [public.public_bytes(encoding, PublicFormat.PKCS1) for encoding in (Encoding.DER, Encoding.PEM)]
    if key.algorithm == "ES256":
        found.append(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        found.append(public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    if key.algorithm == "EdDSA":
        found.append(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        found.append(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    jwk = key.public_jwk
    bare = {name: value for name, value in jwk.items() if name not in ("kid", "use", "alg")}
    for members in (jwk, bare, {"keys": [jwk]}):
        for separators in ((",", ":"), (", ", ": ")):
            found.append(json.dumps(members, separators=separators).encode())
            found.append(json.dumps(members, separators=separators, sort_keys=True).encode())
    values = [str(value) for value in jwk.values()]
    found += [value.encode() for value in values]
    found += [bytes_of(value) for value in values if set(value) <= set(string.ascii_letters + string.digits + "-_")
              and len(value) % 4 != 1]  # fmt: skip
    return [*found, b"", b"\x00", b"secret"]


class TestHmac:
    @pytest.mark.parametrize("digest", HASHES)
    def test_under_any_rendering_of_the_public_key_is_refused(self, any_house: House, digest: str) -> None:
        secrets = renderings(any_house)
        assert len(secrets) > 30
        for alg in (digest, any_house.header()["alg"]):
            signing_input = any_house.signing_input(any_house.header(alg=alg))
            for secret in secrets:
                signature = hmac.digest(secret, signing_input.encode(), HASHES[digest])
                assert any_house.refuses(f"{signing_input}.{base64url(signature)}"), secret


class TestUnsecuredTokens:
    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ABSENT])
    def test_are_refused_with_any_signature(self, any_house: House, alg: Any) -> None:
        unsecured = any_house.signing_input(any_house.header(alg=alg))
        signature = any_house.issue().rsplit(".", 1)[1]
        for end in ("", ".", ".AA", f".{signature}", f".{base64url(b'none')}", "..", f"..{signature}"):
            assert any_house.refuses(unsecured + end)

    def test_are_refused_even_if_they_were_signed(self, any_house: House) -> None:
        assert any_house.refuses(any_house.sign(any_house.header(alg="none")))

    def test_that_lost_their_signature_are_refused(self, any_house: House) -> None:
        head = any_house.issue().rsplit(".", 1)[0]
        for end in ("", ".", ".A", ".AA", ".AAAA", ".=", ". ", ".null", "." + "A" * 86, "." + "A" * 342):
            assert any_house.refuses(head + end)


def spare_bits(part: str) -> list[str]:
    """Other last characters that decode to the same bytes, because base64 leaves bits over."""
    return [
        part[:-1] + character
        for character in string.ascii_letters + string.digits + "-_"
        if character != part[-1] and bytes_of(part[:-1] + character) == bytes_of(part)
    ]


class TestCompactForm:
    @pytest.mark.parametrize(
        "respell",
        [
            lambda token: token + "=",
            lambda token: token + "==",
            lambda token: token + "===",
            lambda token: token + "A",
            lambda token: token + "AAAA",
            lambda token: token + " ",
            lambda token: token + "\n",
            lambda token: token + "\r\n",
            lambda token: token + "\x00",
            lambda token: " " + token,
            lambda token: "\n" + token,
            lambda token: "\ufeff" + token,
            lambda token: "." + token,
            lambda token: token + ".",
            lambda token: token + ".AAAA",
            lambda token: token + ".AAAA.AAAA",
            lambda token: token.replace(".", ".."),
            lambda token: token.replace(".", "=.", 1),
            lambda token: token.replace(".", "==.", 1),
            lambda token: token.replace(".", " . "),
            lambda token: token.replace(".", "\n."),
            lambda token: token.replace(".", "\uff0e"),
            lambda token: token.replace(".", "%2E"),
            lambda token: token.replace(".", ","),
            lambda token: ".".join(token.split(".")[:2]),
            lambda token: ".".join(token.split(".")[1:]),
            lambda token: token.split(".")[0],
            lambda token: ".".join(reversed(token.split("."))),
            lambda token: f"{token.split('.')[0]}..{token.split('.')[2]}",
            lambda token: f".{token.split('.', 1)[1]}",
            lambda token: f"{token},{token}",
            lambda token: f"{token} {token}",
            lambda token: f"Bearer {token}",
            lambda token: f'"{token}"',
            lambda token: token[:50] + "\n" + token[50:],
            lambda token: token[:50] + "\u200b" + token[50:],
            lambda token: token[:50] + "\ud800" + token[51:],
            lambda token: token[:50] + "\u00e9" + token[51:],
            lambda token: token[:50] + "\uff21" + token[51:],
            lambda token: token[:50] + "\x00" + token[51:],
            lambda token: token.swapcase(),
            lambda token: token[:-1],
            lambda token: token[:-2],
            lambda token: token[:-4],
            lambda _: "",
            lambda _: ".",
            lambda _: "..",
            lambda _: "...",
            lambda _: "a.b.c",
            lambda _: "A.A.A",
            lambda _: "AAAA.AAAA.AAAA",
            lambda token: json.dumps(dict(zip(("protected", "payload", "signature"), token.split("."), strict=True))),
            lambda token: json.dumps(
                {
                    "payload": token.split(".")[1],
                    "signatures": [{"protected": token.split(".")[0], "signature": token.split(".")[2]}],
                }
            ),
        ],
    )
    def test_has_one_spelling(self, any_house: House, respell: Callable[[str], str]) -> None:
        token = any_house.issue()
        assert not any_house.refuses(token)
        assert any_house.refuses(respell(token))

    def test_has_one_alphabet(self, house: House) -> None:
        token = next(token for token in (house.issue() for _ in range(500)) if "-" in token and "_" in token)
        assert house.refuses(token.replace("-", "+"))
        assert house.refuses(token.replace("_", "/"))
        assert house.refuses(token.replace("-", "+").replace("_", "/"))

    @pytest.mark.parametrize("segment", [0, 1, 2], ids=["header", "payload", "signature"])
    def test_has_no_spare_bits(self, house: House, segment: int) -> None:
        tried = 0
        for padding in range(4):
            header = json.dumps(house.header()) + " " * padding
            payload = json.dumps(house.claims()) + " " * padding
            parts = house.sign(header.encode(), payload.encode()).split(".")
            for other in spare_bits(parts[segment]):
                respelt = [*parts]
                respelt[segment] = other
                assert house.refuses(".".join(respelt))
                tried += 1
        assert tried > 0

    def test_has_the_five_parts_of_an_encrypted_token_nowhere(self, house: House) -> None:
        header = house.header(alg="RSA-OAEP", enc="A256GCM")
        assert house.refuses(f"{base64url(encoded(header))}.AAAA.AAAA.{base64url(encoded(house.claims()))}.AAAA")


class TestSignatures:
    def test_with_any_changed_character_are_refused(self, house: House) -> None:
        head, signature = house.issue().rsplit(".", 1)
        for position, character in enumerate(signature):
            other = "A" if character != "A" else "B"
            assert house.refuses(f"{head}.{signature[:position]}{other}{signature[position + 1 :]}")

    def test_do_not_cover_another_header_or_payload(self, any_house: House) -> None:
        signature = any_house.sign().rsplit(".", 1)[1]
        assert any_house.refuses(f"{any_house.signing_input(payload=any_house.claims(roles=['admin']))}.{signature}")
        assert any_house.refuses(f"{any_house.signing_input(any_house.header(typ='application/at+jwt'))}.{signature}")

    @pytest.mark.parametrize(
        ("r", "s"),
        list(product((0, 1, P256_ORDER - 1, P256_ORDER, 2**256 - 1), repeat=2)),
        ids=lambda number: {P256_ORDER - 1: "n-1", P256_ORDER: "n", 2**256 - 1: "max"}.get(number, str(number)),
    )
    def test_of_trivial_numbers_are_refused(self, house: House, r: int, s: int) -> None:
        assert house.refuses(f"{house.signing_input()}.{base64url(r.to_bytes(32) + s.to_bytes(32))}")

    def test_in_der_form_are_refused(self, house: House) -> None:
        head, signature = house.sign().rsplit(".", 1)
        raw = bytes_of(signature)
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        assert decode_dss_signature(der) == (int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        assert house.refuses(f"{head}.{base64url(der)}")

    def test_that_are_twins_in_ecdsa_name_the_same_token_and_session(self, house: House) -> None:
        """(r, n - s) verifies wherever (r, s) does: so a token is known by its jti and sid, never by its text."""
        head, signature = house.issue().rsplit(".", 1)
        raw = bytes_of(signature)
        twin = raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
        assert house.tokens.verify(f"{head}.{base64url(twin)}") == house.tokens.verify(f"{head}.{signature}")


class TestClaims:
    @pytest.mark.parametrize(
        "change",
        changes(
            iss=(
                *NOT_A_STRING, [ISSUER], ISSUER + "/", ISSUER[:-1], ISSUER + ".evil.example", ISSUER.upper(),
                ISSUER.replace("https", "http"), " " + ISSUER, "https://", "auth.example.com", AUDIENCE,
            ),
            aud=(
                *NOT_A_STRING, [AUDIENCE], [AUDIENCE, AUDIENCE], [AUDIENCE, "https://other.example.com"],
                ["https://other.example.com", AUDIENCE], "https://other.example.com", AUDIENCE + "/", AUDIENCE[:-1],
                AUDIENCE.upper(), f"{AUDIENCE} https://other.example.com", ISSUER, "*",
            ),
            sub=(*NOT_A_STRING, "ann@example.com", "1", str(USER.id)[:-1], str(USER.id) + "0", [str(USER.id)], "\x00"),
            sid=(*NOT_A_STRING, "1", str(SESSION_ID)[:-1], str(SESSION_ID) + "0", [str(SESSION_ID)]),
            jti=NOT_A_STRING,
            client_id=NOT_A_STRING,
            exp=NOT_A_TIME,
            iat=NOT_A_TIME,
            nbf=NOT_A_TIME[1:],
        ),
    )  # fmt: skip
    def test_that_are_missing_or_of_the_wrong_type_or_value_are_refused(
        self, house: House, change: dict[str, Any]
    ) -> None:
        assert house.refuses(house.sign(payload=house.claims(**change)))

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e10", "9" * 5000])
    @pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
    def test_that_are_no_numbers_at_all_are_refused(self, house: House, name: str, number: str) -> None:
        payload = json.dumps(house.claims(**{name: "HERE"})).replace('"HERE"', number)
        assert house.refuses(house.sign(payload=payload.encode()))

    @pytest.mark.parametrize(
        "rewrite",
        [
            lambda text: text.replace('"sub"', '"sub": "0197a3c2-0000-7000-8000-000000000000", "sub"'),
            lambda text: text.replace('"exp"', '"exp": 1, "exp"'),
            lambda text: text[:-1] + f', "sub": "{USER.id}"}}',
            lambda text: text[:-1] + ', "\\u0061ud": "x"}',
            lambda text: text[:-1] + ', "more": {"a": 1, "a": 1}}',
            lambda text: f"[{text}]",
            json.dumps,
            lambda text: text + " x",
            lambda text: text + text,
            lambda text: text[:-1],
            lambda text: text[:-1] + ",}",
            lambda text: text.replace('"', "'"),
            lambda text: text[:-1] + ', "more": NaN}',
            lambda text: text[:-1] + ', "more": 1e999}',
            lambda text: text[:-1] + ', "more": "\\ud800"}',
            lambda text: text[:-1] + ', "\\udfff": 1}',
            lambda text: text.replace("a token", "\\ud800"),
            lambda text: text.replace("a token", "line\nbreak"),
            lambda text: text[:-1] + ', "more": ' + "[" * 32 + "]" * 32 + "}",
            lambda _: "null",
            lambda _: "true",
            lambda _: "1",
            lambda _: "[]",
            lambda _: "{}",
            lambda _: '""',
            lambda _: " ",
            lambda _: "nonsense",
        ],
    )
    def test_that_two_readers_could_read_differently_are_refused(
        self, house: House, rewrite: Callable[[str], str]
    ) -> None:
        payload = json.dumps(house.claims())
        assert house.refuses(house.sign(payload=rewrite(payload).encode()))

    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
    )
    def test_in_another_encoding_are_refused(self, house: House, encoding: str) -> None:
        assert house.refuses(house.sign(payload=json.dumps(house.claims()).encode(encoding)))

    @pytest.mark.parametrize("raw", [b'{"a": "\xff"}', b"\xff\xfe", b"\x00", b'{"a": "\xed\xa0\x80"}'])
    def test_that_are_not_utf8_are_refused(self, house: House, raw: bytes) -> None:
        assert house.refuses(house.sign(payload=raw))

    def test_that_are_not_ours_are_ignored(self, house: House) -> None:
        claims = house.claims(email="eve@example.com", admin=True, nbf=NOW)
        assert house.tokens.verify(house.sign(payload=claims)) == house.tokens.verify(house.sign())


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
    def test_within_their_bounds_are_accepted(self, house: House, claims: dict[str, int], now: datetime) -> None:
        token = house.sign(payload=house.claims(**claims))
        house.clock.at = now
        assert not house.refuses(token)

    @pytest.mark.parametrize(
        ("claims", "now"),
        [
            pytest.param({}, at(900), id="as it expires"),
            pytest.param({}, at(901), id="a second after it expires"),
            pytest.param({}, at(10**8), id="years after it expires"),
            pytest.param({}, at(-SKEW.seconds) - TICK, id="before it is issued"),
            pytest.param({"iat": NOW + SKEW.seconds + 1}, START, id="from the future"),
            pytest.param({"iat": NOW + 10**8, "exp": NOW + 10**8 + 900}, START, id="from the far future"),
            pytest.param({"exp": NOW + 3601}, START, id="a second longer than any of ours"),
            pytest.param({"exp": NOW + 10 * 365 * 86400}, START, id="for ten years"),
            pytest.param({"iat": NOW - 3600, "exp": NOW + 1}, START, id="a second longer, from an hour ago"),
            pytest.param({"iat": 0, "exp": NOW + 900}, START, id="from 1970"),
            pytest.param({"exp": 0}, START, id="until 1970"),
            pytest.param({"exp": 2**40 - 1, "iat": 2**40 - 901}, START, id="of the year 36812"),
            pytest.param({"nbf": NOW + 1}, START, id="not before a second from now"),
            pytest.param({"nbf": NOW + 900}, START, id="not before it expires"),
            pytest.param({"nbf": 2**40 - 1}, START, id="not before the year 36812"),
        ],
    )
    def test_outside_of_their_bounds_are_refused(self, house: House, claims: dict[str, int], now: datetime) -> None:
        token = house.sign(payload=house.claims(**claims))
        house.clock.at = now
        assert house.refuses(token)

    def test_are_checked_after_somebody_has_peeked_without_checking(self, house: House) -> None:
        token = house.issue()
        house.clock.advance(hours=1)
        options: Any = {"verify_signature": False, "verify_exp": False}
        jwt.decode(token, options=options)
        assert house.refuses(token)


class TestSize:
    def test_up_to_8192_characters_is_read_and_one_more_is_not(self, house: House) -> None:
        def padded(length: int) -> str:
            return house.sign(payload=json.dumps(house.claims()).encode() + b" " * length)

        room = (MAX_CHARACTERS - len(padded(0))) * 3 // 4
        fitting = max((padded(room - less) for less in range(4)), key=lambda token: len(token) <= MAX_CHARACTERS)
        assert MAX_CHARACTERS - 2 <= len(fitting) <= MAX_CHARACTERS
        assert not house.refuses(fitting)
        assert house.refuses(padded(room + 3))

    @pytest.mark.parametrize(
        "text",
        [
            "A" * 10_000_000,
            "." * 10_000_000,
            "A." * 5_000_000,
            "=" * 10_000_000,
            "\u00e9" * 10_000_000,
            f"{'A' * 4000}.{'A' * 4000}.{'A' * 100}",
            "A" * 8192,
            "." * 8192,
            "A." * 4096,
            "-" * 8190 + ".",
        ],
        ids=["10 MB", "10 MB dots", "10 MB parts", "10 MB padding", "10 MB not ASCII", "full", "8 KiB", "8 KiB dots",
             "8 KiB parts", "8 KiB and a dot"],
    )  # fmt: skip
    def test_of_junk_costs_nothing(self, house: House, text: str) -> None:
        started = time.thread_time()
        assert house.refuses(text)
        assert time.thread_time() - started < 0.05

    @pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
    @pytest.mark.parametrize("part", ["header", "payload"])
    def test_of_nesting_costs_nothing(self, house: House, opening: str, part: str) -> None:
        nested = (opening * 5000)[:5000].encode()
        token = house.sign(**{part: nested})
        assert len(token) < MAX_CHARACTERS
        started = time.thread_time()
        assert house.refuses(token)
        assert time.thread_time() - started < 0.05


class TestOtherSecrets:
    def test_are_no_access_tokens(self, house: House) -> None:
        refresh_token = RefreshTokens([bytes(32)]).make(SESSION_ID, new_seed(), 0)
        for text in (refresh_token, refresh_token.removeprefix("twr_"), str(SESSION_ID), str(USER.id), "secret"):
            assert house.refuses(text)

    @pytest.mark.parametrize("typ", ["rt+jwt", "reset+jwt", "verification+jwt", "JWT"])
    def test_that_are_tokens_of_another_kind_are_no_access_tokens(self, house: House, typ: str) -> None:
        assert house.refuses(house.sign(house.header(typ=typ)))


def test_the_spelling_helpers_of_this_file_work() -> None:
    assert spare_bits("AA") != []
    assert spare_bits("AAAA") == []
    with pytest.raises(binascii.Error):
        bytes_of("A")
