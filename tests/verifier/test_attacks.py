"""Tokens that are not what they seem: each is one and the same error, from both verifiers, and asks nobody anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import string
import time
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws as joserfc_jws
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey
from twinauth_verify import Expectations, InvalidToken, verify_token
from twinauth_verify.keys import read_jwks
from twinauth_verify.tokens import MAX_CHARACTERS

from tests.verifier.conftest import Opener
from tests.verifier.issuer import (
    ABSENT,
    ALGORITHMS,
    AUDIENCE,
    SESSION,
    START,
    SUBJECT,
    FakeTime,
    Issuer,
    Signer,
    base64url,
    bytes_of,
    encoded,
    signing_input,
)
from tests.verifier.worlds import World

NOW = START
SKEW = 30
P256_ORDER = ec.SECP256R1().group_order
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


@pytest.fixture
def refuses(world: World, issuer: Issuer) -> Callable[[Any], bool]:
    return refuser(world, issuer)


def refuser(world: World, issuer: Issuer) -> Callable[[Any], bool]:
    # The control without which a refusal says nothing: the same token unchanged is accepted.
    assert world.verify(issuer.sign()).session_id == SESSION

    def refuses(text: Any) -> bool:
        try:
            world.verify(text)
        except InvalidToken as error:
            return (
                type(error) is InvalidToken
                and error.args == ()
                and error.__suppress_context__ | (error.__context__ is None)
            )
        return False

    return refuses


def changes(**tables: Iterable[Any]) -> list[Any]:
    """One parameter for each member, with all the values it is to have."""
    return [pytest.param(name, tuple(values), id=name or "empty") for name, values in tables.items()]


NOT_A_STRING: tuple[Any, ...] = (ABSENT, None, "", 0, 1, 1.5, True, False, [], {}, [""], {"a": "b"})
NOT_A_TIME: tuple[Any, ...] = (
    ABSENT, None, "", str(NOW + 60), f" {NOW + 60} ", "9_999_999_999", "\u0669" * 10, NOW + 60.5, float(NOW + 60),
    True, False, [], [NOW + 60], {}, -1, 2**40, 2**63, 10**400,
)  # fmt: skip


class TestHeaders:
    @pytest.mark.parametrize(
        ("name", "values"),
        changes(
            alg=(
                "none", "None", "NONE", "nOnE", "es256", "Es256", "ES256 ", " ES256", "ES256\x00", "ES384", "ES512",
                "ES256K", "RS256", "PS256", "EdDSA", "Ed25519", "HS256", "dir", "RSA-OAEP", "A128KW", ["ES256"],
                {"ES256": 1}, *NOT_A_STRING,
            ),
            typ=(
                "JWT", "jwt", "at", "at+jw", "at+jwt2", "at+jwt ", " at+jwt", "at+jwt;a=b", "rt+jwt", "id+jwt",
                "secevent+jwt", "logout+jwt", "revocations+jwt", "application/jwt", "application/application/at+jwt",
                "application/", "text/at+jwt", "at+jwt\x00", "\uff41t+jwt", "JOSE", *NOT_A_STRING,
            ),
            kid=(
                "unknown", "a" * 43, "a" * 65, "a" * 4000, "../../../../dev/null", "/dev/null", "file:///dev/null",
                "https://127.0.0.1:9/key", "' OR 1=1 --", "\x00", "\u00e9", "*", "%", "es256-0", "ES256-0 ",
                "ES256-0=", "ES256-0\x00", *NOT_A_STRING,
            ),
            jku=["https://auth.example.com/.well-known/jwks.json", None],
            x5u=["https://auth.example.com/cert.pem"],
            x5c=[["MIIB"], []],
            x5t=["abc"],
            jwk=[{"kty": "oct", "k": "AAAA"}, {}, None],
            crit=[["exp"], ["b64"], ["alg"], [], None, "exp", {}],
            b64=[False, True, None],
            zip=["DEF", None],
            cty=["JWT", "at+jwt", None],
            enc=["A256GCM"],
            p2c=[10**9],
            iss=["https://auth.example.com"],
            exp=[NOW + 60],
            **{"": [""], "ALG": ["ES256"], "kid ": ["a"], "Kid": ["a"]},
        ),
    )  # fmt: skip
    def test_with_another_value_or_member_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer, name: str, values: tuple[Any, ...]
    ) -> None:
        assert [value for value in values if not refuses(issuer.sign(issuer.header(**{name: value})))] == []

    @pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"])
    def test_name_the_type_in_either_form_and_any_case(self, world: World, issuer: Issuer, typ: str) -> None:
        assert world.verify(issuer.sign(issuer.header(typ=typ))).subject == SUBJECT

    def test_that_two_readers_could_read_differently_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer
    ) -> None:
        header = json.dumps(issuer.header())
        rewritten = [
            header.replace('{"alg"', '{"alg": "none", "alg"'),
            header.replace('"}', '", "alg": "ES256"}'),
            header.replace('"}', '", "kid": "other"}'),
            header.replace('"}', '", "\\u0074yp": "JWT"}'),
            f"[{header}]", header + "x", header + header, header[:-1], header.replace("}", ",}"),
            header.replace('"', "'"), json.dumps(header), "null", "{}", '"ES256"', "1", "\ufeff" + header,
            header.replace("at+jwt", "\\ud800"), header[:-1] + ', "\\ud800": 1}',
        ]  # fmt: skip
        assert not refuses(issuer.sign(header.encode()))
        assert [text for text in rewritten if not refuses(issuer.sign(text.encode()))] == []

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
    def test_or_claims_in_another_encoding_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer, encoding: str
    ) -> None:
        assert refuses(issuer.sign(json.dumps(issuer.header()).encode(encoding)))
        assert refuses(issuer.sign(payload=json.dumps(issuer.claims()).encode(encoding)))

    def test_make_nobody_fetch_anything(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        fetched = len(issuer.jwks_requests)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/key"
            for member in ({"jku": url}, {"x5u": url}, {"kid": url}, {"jku": url, "kid": url}, {"iss": url}):
                assert refuses(issuer.sign(issuer.header(**member)))
            assert refuses(issuer.sign(payload=issuer.claims(iss=url, jku=url)))
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert len(issuer.jwks_requests) == fetched


class TestForeignKeys:
    @pytest.mark.parametrize(("own", "foreign"), list(product(ALGORITHMS, repeat=2)))
    def test_sign_nothing_and_cannot_bring_themselves_along(
        self, open_world: Opener, issuer: Issuer, own: str, foreign: str
    ) -> None:
        issuer.signer = Signer(own)
        attacker = Signer(foreign, number=1)
        refuses = refuser(open_world(issuer, follow_revocations=False), issuer)
        kid, jwk = issuer.signer.kid, attacker.jwk
        for header in (
            issuer.header(),
            {"alg": foreign, "typ": "at+jwt", "kid": kid},
            {"alg": foreign, "typ": "at+jwt", "kid": kid, "jwk": jwk},
            {"alg": foreign, "typ": "at+jwt", "kid": kid, "jwk": jwk | {"kid": kid}},
            {"alg": foreign, "typ": "at+jwt", "kid": jwk["kid"], "jwk": jwk},
            {"alg": foreign, "typ": "at+jwt", "kid": jwk["kid"]},
            {"alg": foreign, "typ": "at+jwt", "jwk": jwk},
            {"alg": foreign, "typ": "at+jwt", "kid": jwk},
        ):
            assert refuses(attacker.sign(header, issuer.claims()))


def renderings(signer: Signer) -> list[bytes]:
    """Every way to write down a public key that somebody might hand to HMAC as its secret."""
    public = signer.key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    found = [
        der, base64.b64encode(der), base64url(der).encode(), der.hex().encode(), pem, pem.strip(),
        pem.replace(b"\n", b"\r\n"), pem.replace(b"\n", b""), b"".join(pem.splitlines()[1:-1]),
        b"\n".join(pem.splitlines()[1:-1]), b"\n".join(pem.splitlines()[1:-1]) + b"\n",
    ]  # fmt: skip
    if signer.algorithm == "RS256":
        found += [public.public_bytes(encoding, PublicFormat.PKCS1) for encoding in (Encoding.DER, Encoding.PEM)]
    if signer.algorithm == "ES256":
        found.append(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
        found.append(public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    if signer.algorithm == "EdDSA":
        found.append(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    jwk = signer.jwk
    bare = {name: value for name, value in jwk.items() if name not in ("kid", "use", "alg")}
    for members, separators in product((jwk, bare, {"keys": [jwk]}), ((",", ":"), (", ", ": "))):
        found.append(json.dumps(members, separators=separators).encode())
        found.append(json.dumps(members, separators=separators, sort_keys=True).encode())
    return [*found, *(str(value).encode() for value in jwk.values()), b"", b"\x00", b"secret"]


class TestHmacAndNone:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_hmac_under_any_rendering_of_the_public_key_is_refused(
        self, open_world: Opener, issuer: Issuer, algorithm: str
    ) -> None:
        issuer.signer = Signer(algorithm)
        refuses = refuser(open_world(issuer, follow_revocations=False), issuer)
        secrets = renderings(issuer.signer)
        assert len(secrets) > 25
        for digest, secret in product(HASHES, secrets):
            for alg in (digest, algorithm):
                text = signing_input(issuer.header(alg=alg), issuer.claims())
                signature = hmac.digest(secret, text.encode(), HASHES[digest])
                assert refuses(f"{text}.{base64url(signature)}"), secret

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, ABSENT])
    def test_unsecured_tokens_are_refused_with_any_signature(
        self, refuses: Callable[[str], bool], issuer: Issuer, alg: Any
    ) -> None:
        unsecured = signing_input(issuer.header(alg=alg), issuer.claims())
        signature = issuer.sign().rsplit(".", 1)[1]
        for end in ("", ".", ".AA", f".{signature}", f".{base64url(b'none')}", "..", f"..{signature}"):
            assert refuses(unsecured + end)

    def test_tokens_that_lost_their_signature_are_refused(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        head = issuer.sign().rsplit(".", 1)[0]
        for end in ("", ".", ".A", ".AA", ".AAAA", ".=", ". ", ".null", "." + "A" * 86, "." + "A" * 342):
            assert refuses(head + end)


def spare_bits(part: str) -> list[str]:
    """Other last characters that decode to the same bytes, because base64 leaves bits over."""
    return [
        part[:-1] + character
        for character in string.ascii_letters + string.digits + "-_"
        if character != part[-1] and bytes_of(part[:-1] + character) == bytes_of(part)
    ]


class TestCompactForm:
    def test_in_any_other_spelling_is_refused(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        token = issuer.sign()
        head, payload, signature = token.split(".")
        others = [
            token + "=", token + "==", token + "A", token + "AAAA", token + " ", token + "\n", token + "\r\n",
            token + "\x00", " " + token, "\n" + token, "\ufeff" + token, "." + token, token + ".", token + ".AAAA",
            token + ".AAAA.AAAA", token.replace(".", ".."), token.replace(".", "=.", 1), token.replace(".", " . "),
            token.replace(".", "\n."), token.replace(".", "\uff0e"), token.replace(".", "%2E"),
            token.replace(".", ","), f"{head}.{payload}", f"{payload}.{signature}", head,
            f"{signature}.{payload}.{head}", f"{head}..{signature}", f".{payload}.{signature}", f"{token},{token}",
            f"{token} {token}", f"Bearer {token}", f'"{token}"', token[:50] + "\n" + token[50:],
            token[:50] + "\u200b" + token[50:], token[:50] + "\ud800" + token[51:], token[:50] + "\u00e9" + token[51:],
            token[:50] + "\uff21" + token[51:], token[:50] + "+" + token[51:], token[:50] + "/" + token[51:],
            json.dumps({"protected": head, "payload": payload, "signature": signature}),
            f"{base64url(encoded(issuer.header(alg='RSA-OAEP', enc='A256GCM')))}.AAAA.AAAA.{payload}.AAAA",
            "", ".", "..", "a.b.c", "\x00", "null",
        ]  # fmt: skip
        assert [text for text in others if not refuses(text)] == []

    @pytest.mark.parametrize("value", [None, 1, b"abc", [], {}, True])
    def test_that_is_no_text_is_refused(self, refuses: Callable[[Any], bool], value: Any) -> None:
        assert refuses(value)

    @pytest.mark.parametrize("segment", [0, 1, 2])
    def test_with_other_spare_bits_is_refused_even_if_the_token_was_verified(
        self, refuses: Callable[[str], bool], issuer: Issuer, segment: int
    ) -> None:
        tried = 0
        for padding in range(4):
            header = json.dumps(issuer.header()) + " " * padding
            payload = json.dumps(issuer.claims()) + " " * padding
            token = issuer.sign(header.encode(), payload.encode())
            assert not refuses(token)
            parts = token.split(".")
            for other in spare_bits(parts[segment]):
                assert refuses(".".join([*parts[:segment], other, *parts[segment + 1 :]]))
                tried += 1
        assert tried > 0


class TestSignatures:
    def test_with_any_changed_character_are_refused(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        head, signature = issuer.sign().rsplit(".", 1)
        for position, character in enumerate(signature):
            other = "A" if character != "A" else "B"
            assert refuses(f"{head}.{signature[:position]}{other}{signature[position + 1 :]}")

    def test_do_not_cover_another_header_or_payload(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        signature = issuer.sign().rsplit(".", 1)[1]
        assert refuses(f"{signing_input(issuer.header(), issuer.claims(roles=['root']))}.{signature}")
        assert refuses(f"{signing_input(issuer.header(typ='application/at+jwt'), issuer.claims())}.{signature}")

    def test_of_trivial_numbers_are_refused(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        text = signing_input(issuer.header(), issuer.claims())
        for r, s in product((0, 1, P256_ORDER - 1, P256_ORDER, 2**256 - 1), repeat=2):
            assert refuses(f"{text}.{base64url(r.to_bytes(32) + s.to_bytes(32))}")

    def test_in_der_form_are_refused(self, refuses: Callable[[str], bool], issuer: Issuer) -> None:
        head, signature = issuer.sign().rsplit(".", 1)
        raw = bytes_of(signature)
        der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
        assert refuses(f"{head}.{base64url(der)}")

    def test_that_are_twins_in_ecdsa_are_revoked_together(self, world: World, issuer: Issuer) -> None:
        """(r, n - s) verifies wherever (r, s) does: so a token is revoked by its jti and sid, never by its text."""
        head, signature = issuer.sign().rsplit(".", 1)
        raw = bytes_of(signature)
        twin = f"{head}.{base64url(raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"
        assert world.verify(twin) == world.verify(f"{head}.{signature}")
        revoke_all(world, issuer)
        for text in (twin, f"{head}.{signature}"):
            with pytest.raises(InvalidToken):
                world.verify(text)


def revoke_all(world: World, issuer: Issuer) -> None:
    from twinauth_verify.revocations import read_revocation  # noqa: PLC0415

    issuer.revoke("session", SESSION)
    found = [read_revocation(entry) for entry in issuer.entries]
    world.bench.revocations.add([entry for entry in found if entry is not None])


ISSUER = "https://auth.example.com"


class TestClaims:
    @pytest.mark.parametrize(
        ("name", "values"),
        changes(
            iss=(
                *NOT_A_STRING, [ISSUER], ISSUER + "/", ISSUER[:-1], ISSUER + ".evil.example", ISSUER.upper(),
                ISSUER.replace("https", "http"), " " + ISSUER, "https://", "auth.example.com", AUDIENCE,
            ),
            aud=(
                *NOT_A_STRING, [AUDIENCE], [AUDIENCE, AUDIENCE], [AUDIENCE, "https://other.example.com"],
                "https://other.example.com", AUDIENCE + "/", AUDIENCE[:-1], AUDIENCE.upper(),
                f"{AUDIENCE} https://other.example.com", ISSUER, "*",
            ),
            sub=NOT_A_STRING,
            sid=NOT_A_STRING[1:],
            jti=NOT_A_STRING,
            client_id=NOT_A_STRING,
            exp=NOT_A_TIME,
            iat=NOT_A_TIME,
            nbf=NOT_A_TIME[1:],
            scope=(None, 1, True, [], ["orders:read"], {}, " ", "a  b", " a", "a ", "a\tb", 'a"b', "a\\b", "\u00e9"),
            roles=(None, 1, True, "admin", {}, [1], [None], [""], [["admin"]], {"admin": True}),
        ),
    )  # fmt: skip
    def test_that_are_missing_or_of_the_wrong_type_or_value_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer, name: str, values: tuple[Any, ...]
    ) -> None:
        assert [value for value in values if not refuses(issuer.token(**{name: value}))] == []

    @pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e10", "9" * 5000])
    @pytest.mark.parametrize("name", ["exp", "iat", "nbf", "other"])
    def test_that_are_no_numbers_at_all_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer, name: str, number: str
    ) -> None:
        if (name, number) == ("other", "1e10"):
            return
        payload = json.dumps(issuer.claims(**{name: "HERE"})).replace('"HERE"', number)
        assert refuses(issuer.sign(payload=payload.encode()))

    def test_that_two_readers_could_read_differently_are_refused(
        self, refuses: Callable[[str], bool], issuer: Issuer
    ) -> None:
        text = json.dumps(issuer.claims())
        rewritten = [
            text.replace('"sub"', '"sub": "somebody", "sub"'), text.replace('"exp"', '"exp": 1, "exp"'),
            text[:-1] + f', "sub": "{SUBJECT}"}}', text[:-1] + ', "\\u0061ud": "x"}',
            text[:-1] + ', "more": {"a": 1, "a": 1}}', f"[{text}]", json.dumps(text), text + " x", text + text,
            text[:-1], text[:-1] + ",}", text.replace('"', "'"), text[:-1] + ', "more": "\\ud800"}',
            text[:-1] + ', "\\udfff": 1}', text.replace("a token", "\\ud800"), text.replace("a token", "line\nbreak"),
            text[:-1] + ', "more": ' + "[" * 32 + "]" * 32 + "}", "null", "true", "1", "[]", "{}", '""', " ", "no",
        ]  # fmt: skip
        assert [other for other in rewritten if not refuses(issuer.sign(payload=other.encode()))] == []

    @pytest.mark.parametrize("raw", [b'{"a": "\xff"}', b"\xff\xfe", b"\x00", b'{"a": "\xed\xa0\x80"}'])
    def test_that_are_not_utf8_are_refused(self, refuses: Callable[[str], bool], issuer: Issuer, raw: bytes) -> None:
        assert refuses(issuer.sign(payload=raw))


class TestTimes:
    @pytest.mark.parametrize(
        ("claims", "later"),
        [
            pytest.param({}, 0, id="as it is issued"),
            pytest.param({}, 900 + SKEW - 0.001, id="just before it expires for the slowest clock"),
            pytest.param({"iat": NOW + SKEW}, 0, id="from a clock that is a little ahead"),
            pytest.param({"exp": NOW + 3600}, 3600, id="of the longest life"),
            pytest.param({"nbf": NOW + SKEW}, 0, id="not before a little later"),
            pytest.param({"nbf": 0}, 0, id="not before 1970"),
        ],
    )
    def test_within_their_bounds_are_accepted(
        self, world: World, issuer: Issuer, time_: FakeTime, claims: dict[str, int], later: float
    ) -> None:
        token = issuer.token(**claims)
        time_.advance(later)
        assert world.verify(token).subject == SUBJECT

    @pytest.mark.parametrize(
        ("claims", "later"),
        [
            pytest.param({}, 900 + SKEW, id="as it expires for the slowest clock"),
            pytest.param({}, 10**8, id="years after it expires"),
            pytest.param({}, -SKEW - 0.001, id="before it is issued"),
            pytest.param({"iat": NOW + SKEW + 1}, 0, id="from the future"),
            pytest.param({"iat": NOW + 10**8, "exp": NOW + 10**8 + 900}, 0, id="from the far future"),
            pytest.param({"exp": NOW + 3601}, 0, id="a second longer than any of ours"),
            pytest.param({"exp": NOW + 10 * 365 * 86400}, 0, id="for ten years"),
            pytest.param({"iat": NOW - 3600, "exp": NOW + 1}, 0, id="a second longer, from an hour ago"),
            pytest.param({"iat": NOW + 20, "exp": NOW + 10}, 0, id="expired before it was issued"),
            pytest.param({"iat": 0, "exp": NOW + 900}, 0, id="from 1970"),
            pytest.param({"exp": 0}, 0, id="until 1970"),
            pytest.param({"exp": 2**40 - 1, "iat": 2**40 - 901}, 0, id="of the year 36812"),
            pytest.param({"nbf": NOW + SKEW + 1}, 0, id="not before a minute from now"),
            pytest.param({"nbf": 2**40 - 1}, 0, id="not before the year 36812"),
        ],
    )
    def test_outside_of_their_bounds_are_refused(
        self, world: World, issuer: Issuer, time_: FakeTime, claims: dict[str, int], later: float
    ) -> None:
        world.start()
        token = issuer.token(**claims)
        time_.advance(later)
        with pytest.raises(InvalidToken):
            world.verify(token)

    def test_are_checked_after_somebody_has_peeked_without_checking(
        self, world: World, issuer: Issuer, time_: FakeTime
    ) -> None:
        token = issuer.sign()
        options: Any = {"verify_signature": False, "verify_exp": False}
        jwt.decode(token, options=options)
        time_.advance(3600)
        with pytest.raises(InvalidToken):
            world.verify(token)

    @pytest.mark.parametrize(("skew", "accepted"), [(0, False), (60, True)])
    def test_have_the_skew_that_is_set(self, open_world: Opener, issuer: Issuer, skew: int, *, accepted: bool) -> None:
        world = open_world(issuer, follow_revocations=False, clock_skew=skew)
        outcome = world.verify_all([issuer.token(iat=NOW + 60)])[0]
        assert (outcome is not InvalidToken) == accepted


class TestSize:
    def test_up_to_8192_characters_is_read_and_one_more_is_not(
        self, refuses: Callable[[str], bool], issuer: Issuer
    ) -> None:
        def padded(length: int) -> str:
            return issuer.sign(payload=json.dumps(issuer.claims()).encode() + b" " * length)

        room = (MAX_CHARACTERS - len(padded(0))) * 3 // 4
        fitting = max((padded(room - less) for less in range(4)), key=lambda token: len(token) <= MAX_CHARACTERS)
        assert MAX_CHARACTERS - 2 <= len(fitting) <= MAX_CHARACTERS
        assert not refuses(fitting)
        assert refuses(padded(room + 3))

    @pytest.mark.parametrize(
        "text", ["A" * 10_000_000, "." * 10_000_000, "A." * 5_000_000, "\u00e9" * 10_000_000, "A" * 8192, "A." * 4096],
        ids=["10 MB", "10 MB dots", "10 MB parts", "10 MB not ASCII", "full", "8 KiB parts"],
    )  # fmt: skip
    def test_of_junk_costs_nothing(self, refuses: Callable[[str], bool], text: str) -> None:
        started = time.thread_time()
        assert refuses(text)
        assert time.thread_time() - started < 0.05

    @pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
    @pytest.mark.parametrize("part", ["header", "payload"])
    def test_of_nesting_costs_nothing(
        self, refuses: Callable[[str], bool], issuer: Issuer, opening: str, part: str
    ) -> None:
        token = issuer.sign(**{part: (opening * 5000)[:5000].encode()})
        started = time.thread_time()
        assert refuses(token)
        assert time.thread_time() - started < 0.05


class TestGoodTokens:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_say_what_they_say(self, open_world: Opener, issuer: Issuer, algorithm: str) -> None:
        issuer.signer = Signer(algorithm)
        token = open_world(issuer, follow_revocations=False).verify(issuer.token(more={"list": [1, {"a": [2]}]}))
        assert (token.subject, token.client_id, token.session_id) == (SUBJECT, "twinauth", SESSION)
        assert token.scopes == {"orders:read", "orders:write"}
        assert token.roles == {"admin"}
        assert (token.issued_at.timestamp(), token.expires_at.timestamp()) == (NOW, NOW + 900)
        assert token.token_id == token.claims["jti"] == "a token"
        assert token.claims["more"]["list"] == (1, {"a": (2,)})

    def test_of_service_clients_have_no_session(self, world: World, issuer: Issuer) -> None:
        token = world.verify(issuer.token(sid=ABSENT, roles=ABSENT, scope=ABSENT, sub="a client", client_id="a client"))
        assert (token.session_id, token.scopes, token.roles) == (None, frozenset(), frozenset())

    def test_cannot_be_changed_by_one_request_for_the_next(self, world: World, issuer: Issuer) -> None:
        token = world.verify(issuer.token(more={"list": [1]}))
        frozen: Any = token
        with pytest.raises(AttributeError):
            frozen.subject = "root"
        with pytest.raises(TypeError):
            frozen.claims["sub"] = "root"
        with pytest.raises(TypeError):
            frozen.claims["more"]["list"] = []

    def test_show_no_claims_in_a_log(self, world: World, issuer: Issuer) -> None:
        assert "canary" not in repr(world.verify(issuer.token(email="canary@example.com")))

    def test_of_another_library_are_accepted(self, world: World, issuer: Issuer) -> None:
        key = ECKey.import_key(issuer.signer.key)
        text = joserfc_jwt.encode(issuer.header(), issuer.claims(), key)
        assert world.verify(text).subject == SUBJECT
        assert world.verify(joserfc_jws.serialize_compact(issuer.header(), encoded(issuer.claims()), key))

    def test_are_judged_alike_by_the_pure_function(self, issuer: Issuer) -> None:
        keys = read_jwks(issuer.jwks().body)
        expectations = Expectations(issuer=issuer.issuer, audience=AUDIENCE)
        assert verify_token(issuer.sign(), keys, expectations, NOW).subject == SUBJECT
        for text in (issuer.sign(issuer.header(kid="other")), issuer.token(exp=NOW - 31), issuer.sign() + "=", ""):
            with pytest.raises(InvalidToken):
                verify_token(text, keys, expectations, NOW)
