"""Access tokens that are not what they seem, in one table for every reader of tokens.

Each attack gives texts that a strict reader must refuse, from an issuer whose key the reader trusts: only the change
that the attack makes can be the reason of a refusal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.issuer import (
    ABSENT,
    ALGORITHMS,
    AUDIENCE,
    START,
    SUBJECT,
    Issuer,
    Signer,
    base64url,
    bytes_of,
    encoded,
    signing_input,
)

Attack = Callable[[Issuer], Iterable[str]]

MAX_CHARACTERS = 8192
P256_ORDER = ec.SECP256R1().group_order
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
ISSUER = "https://auth.example.com"

NOT_A_STRING: tuple[Any, ...] = (ABSENT, None, "", 0, 1, 1.5, True, False, [], {}, [""], {"a": "b"})
NOT_A_TIME: tuple[Any, ...] = (
    ABSENT, None, "", str(START + 60), f" {START + 60} ", "9_999_999_999", "\u0669" * 10, START + 60.5,
    float(START + 60), True, False, [], [START + 60], {}, -1, 2**40, 2**63, 10**400,
)  # fmt: skip
UNSECURED = ("none", "None", "NONE", "nOnE", "", None, ABSENT)
ENCODINGS = ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")

HEADER_MEMBERS: dict[str, tuple[Any, ...]] = {
    "alg": (
        *UNSECURED, "es256", "Es256", "ES256 ", " ES256", "ES256\x00", "ES384", "ES512", "ES256K", "RS256", "PS256",
        "EdDSA", "Ed25519", "HS256", "dir", "RSA-OAEP", "A128KW", ["ES256"], {"ES256": 1}, *NOT_A_STRING,
    ),
    "typ": (
        "JWT", "jwt", "at", "at+jw", "at+jwt2", "at+jwt ", " at+jwt", "at+jwt;a=b", "rt+jwt", "id+jwt", "reset+jwt",
        "verification+jwt", "secevent+jwt", "logout+jwt", "dpop+jwt", "revocations+jwt", "application/jwt",
        "application/application/at+jwt", "application/", "text/at+jwt", "at+jwt\x00", "\uff41t+jwt", "JOSE",
        *NOT_A_STRING,
    ),
    "kid": (
        "unknown", "a" * 43, "a" * 65, "a" * 4000, "../../../../dev/null", "/dev/null", "file:///dev/null",
        "https://127.0.0.1:9/key", "' OR 1=1 --", "1; DROP TABLE signing_keys", "\x00", "\u00e9", "*", "%",
        "es256-0", "ES256-0 ", " ES256-0", "ES256-0=", "ES256-0\x00", *NOT_A_STRING,
    ),
    "jku": (f"{ISSUER}/.well-known/jwks.json", ISSUER, None),
    "x5u": (f"{ISSUER}/cert.pem",),
    "x5c": (["MIIB"], []),
    "x5t": ("abc",),
    "jwk": ({"kty": "oct", "k": "AAAA"}, {}, None),
    "crit": (["exp"], ["b64"], ["alg"], [], None, "exp", {}),
    "b64": (False, True, None),
    "zip": ("DEF", None),
    "cty": ("JWT", "at+jwt", None),
    "enc": ("A256GCM",),
    "epk": ({},),
    "p2c": (10**9,),
    "iss": (ISSUER,),
    "nonce": ("abc",),
    "exp": (START + 60,),
    "url": ("https://example.com",),
    "": ("",),
    "ALG": ("ES256",),
    "kid ": ("a",),
    "Kid": ("a",),
}  # fmt: skip

CLAIMS: dict[str, tuple[Any, ...]] = {
    "iss": (
        *NOT_A_STRING, [ISSUER], ISSUER + "/", ISSUER[:-1], ISSUER + ".evil.example", ISSUER.upper(),
        ISSUER.replace("https", "http"), " " + ISSUER, "https://", "auth.example.com", AUDIENCE,
    ),
    "aud": (
        *NOT_A_STRING, [AUDIENCE], [AUDIENCE, AUDIENCE], [AUDIENCE, "https://other.example.com"],
        ["https://other.example.com", AUDIENCE], "https://other.example.com", AUDIENCE + "/", AUDIENCE[:-1],
        AUDIENCE.upper(), f"{AUDIENCE} https://other.example.com", ISSUER, "*",
    ),
    "sub": NOT_A_STRING,
    "sid": NOT_A_STRING[1:],
    "jti": NOT_A_STRING,
    "client_id": NOT_A_STRING,
    "exp": NOT_A_TIME,
    "iat": NOT_A_TIME,
    "nbf": NOT_A_TIME[1:],
    "roles": (None, 1, True, "admin", {}, [1], [None], [["admin"]], {"admin": True}),
    "scope": (1, True, ["orders:read"], {"a": "b"}),
}  # fmt: skip


def _headers(name: str, issuer: Issuer) -> Iterator[str]:
    for value in HEADER_MEMBERS[name]:
        yield issuer.sign(issuer.header(**{name: value}))


def _claims(name: str, issuer: Issuer) -> Iterator[str]:
    for value in CLAIMS[name]:
        yield issuer.token(**{name: value})


def header_that_makes_the_payload_opaque(issuer: Issuer) -> Iterator[str]:
    yield issuer.sign(issuer.header(b64=False, crit=["b64"]))
    yield issuer.sign(issuer.header(zip="DEF", crit=["zip"]))


def header_that_two_readers_could_read_differently(issuer: Issuer) -> Iterator[str]:
    text = json.dumps(issuer.header())
    for other in (
        text.replace('{"alg"', '{"alg": "none", "alg"'), text.replace('"}', '", "alg": "none"}'),
        text.replace('"}', '", "alg": "ES256"}'), text.replace('"}', '", "kid": "other"}'),
        text.replace('"}', '", "\\u0074yp": "JWT"}'), f"[{text}]", text + "x", text + text, text[:-1],
        text.replace("}", ",}"), text.replace('"', "'"), json.dumps(text), "null", "{}", '"ES256"', "1",
        "\ufeff" + text, text.replace("at+jwt", "\\ud800"), text[:-1] + ', "\\ud800": 1}',
    ):  # fmt: skip
        yield issuer.sign(other.encode())


def claims_that_two_readers_could_read_differently(issuer: Issuer) -> Iterator[str]:
    text = json.dumps(issuer.claims())
    for other in (
        text.replace('"sub"', '"sub": "0197a3c2-0000-7000-8000-000000000000", "sub"'),
        text.replace('"exp"', '"exp": 1, "exp"'), text[:-1] + f', "sub": "{SUBJECT}"}}',
        text[:-1] + ', "\\u0061ud": "x"}', text[:-1] + ', "more": {"a": 1, "a": 1}}', f"[{text}]", json.dumps(text),
        text + " x", text + text, text[:-1], text[:-1] + ",}", text.replace('"', "'"), text[:-1] + ', "more": NaN}',
        text[:-1] + ', "more": 1e999}', text[:-1] + ', "more": "\\ud800"}', text[:-1] + ', "\\udfff": 1}',
        text.replace("a token", "\\ud800"), text.replace("a token", "line\nbreak"),
        text[:-1] + ', "more": ' + "[" * 32 + "]" * 32 + "}", "null", "true", "1", "[]", "{}", '""', " ", "nonsense",
    ):  # fmt: skip
        yield issuer.sign(payload=other.encode())


def claims_that_are_no_numbers_at_all(issuer: Issuer) -> Iterator[str]:
    numbers = ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 5000)
    for name, number in [*product(("exp", "iat", "nbf", "other"), numbers), ("exp", "1e10"), ("nbf", "1e10")]:
        payload = json.dumps(issuer.claims(**{name: "HERE"})).replace('"HERE"', number)
        yield issuer.sign(payload=payload.encode())


def header_or_claims_in_another_encoding(issuer: Issuer) -> Iterator[str]:
    for encoding in ENCODINGS:
        yield issuer.sign(json.dumps(issuer.header()).encode(encoding))
        yield issuer.sign(payload=json.dumps(issuer.claims()).encode(encoding))
    for raw in (b'{"a": "\xff"}', b"\xff\xfe", b"\x00", b'{"a": "\xed\xa0\x80"}'):
        yield issuer.sign(payload=raw)


def foreign_keys(issuer: Issuer) -> Iterator[str]:
    """A stranger's key, under our name, its own, or brought along."""
    kid = issuer.signer.kid
    for algorithm in ALGORITHMS:
        attacker = Signer(algorithm, number=1)
        jwk = attacker.jwk
        for header in (
            issuer.header(),
            {"alg": algorithm, "typ": "at+jwt", "kid": kid},
            {"alg": algorithm, "typ": "at+jwt", "kid": kid, "jwk": jwk},
            {"alg": algorithm, "typ": "at+jwt", "kid": kid, "jwk": jwk | {"kid": kid}},
            {"alg": algorithm, "typ": "at+jwt", "kid": jwk["kid"], "jwk": jwk},
            {"alg": algorithm, "typ": "at+jwt", "kid": jwk["kid"]},
            {"alg": algorithm, "typ": "at+jwt", "jwk": jwk},
            {"alg": algorithm, "typ": "at+jwt", "kid": jwk},
        ):
            yield attacker.sign(header, issuer.claims())


def renderings(signer: Signer) -> list[bytes]:
    """Every way to write down a public key that somebody might hand to HMAC as its secret."""
    public = signer.key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    lines = pem.splitlines()[1:-1]
    found = [
        der, base64.b64encode(der), base64url(der).encode(), der.hex().encode(), pem, pem.strip(),
        pem.replace(b"\n", b"\r\n"), pem.replace(b"\n", b""), b"".join(lines), b"\n".join(lines),
        b"\n".join(lines) + b"\n",
    ]  # fmt: skip
    match signer.algorithm:
        case "RS256":
            forms = [(Encoding.DER, PublicFormat.PKCS1), (Encoding.PEM, PublicFormat.PKCS1)]
        case "ES256":
            forms = [(Encoding.X962, PublicFormat.UncompressedPoint), (Encoding.X962, PublicFormat.CompressedPoint)]
        case _:
            forms = [(Encoding.Raw, PublicFormat.Raw), (Encoding.OpenSSH, PublicFormat.OpenSSH)]
    found += [public.public_bytes(*form) for form in forms]
    jwk = signer.jwk
    bare = {name: value for name, value in jwk.items() if name not in ("kid", "use", "alg")}
    for members, separators in product((jwk, bare, {"keys": [jwk]}), ((",", ":"), (", ", ": "))):
        found.append(json.dumps(members, separators=separators).encode())
        found.append(json.dumps(members, separators=separators, sort_keys=True).encode())
    values = [str(value) for value in jwk.values()]
    found += [value.encode() for value in values]
    found += [bytes_of(value) for value in values if len(value) % 4 != 1]
    return [*found, b"", b"\x00", b"secret"]


def hmac_under_the_public_key(issuer: Issuer) -> Iterator[str]:
    for digest, alg in product(HASHES, (None, issuer.signer.algorithm)):
        text = signing_input(issuer.header(alg=alg or digest), issuer.claims())
        for secret in renderings(issuer.signer):
            yield f"{text}.{base64url(hmac.digest(secret, text.encode(), HASHES[digest]))}"


def unsecured(issuer: Issuer) -> Iterator[str]:
    signature = issuer.sign().rsplit(".", 1)[1]
    for alg in UNSECURED:
        text = signing_input(issuer.header(alg=alg), issuer.claims())
        for end in ("", ".", ".AA", f".{signature}", f".{base64url(b'none')}", "..", f"..{signature}"):
            yield text + end


def lost_signatures(issuer: Issuer) -> Iterator[str]:
    head = issuer.sign().rsplit(".", 1)[0]
    for end in ("", ".", ".A", ".AA", ".AAAA", ".=", ". ", ".null", "." + "A" * 86, "." + "A" * 342):
        yield head + end


def other_spellings(issuer: Issuer) -> Iterator[str]:
    token = issuer.sign()
    head, payload, signature = token.split(".")
    yield from (
        token + "=", token + "==", token + "===", token + "A", token + "AAAA", token + " ", token + "\n",
        token + "\r\n", token + "\x00", " " + token, "\n" + token, "\ufeff" + token, "." + token, token + ".",
        token + ".AAAA", token + ".AAAA.AAAA", token.replace(".", ".."), token.replace(".", "=.", 1),
        token.replace(".", "==.", 1), token.replace(".", " . "), token.replace(".", "\n."),
        token.replace(".", "\uff0e"), token.replace(".", "%2E"), token.replace(".", ","), f"{head}.{payload}",
        f"{payload}.{signature}", head, f"{signature}.{payload}.{head}", f"{head}..{signature}",
        f".{payload}.{signature}", f"{token},{token}", f"{token} {token}", f"Bearer {token}", f'"{token}"',
        *(token[:50] + inserted + token[50:] for inserted in ("\n", "\u200b", "=", ".")),
        *(token[:50] + other + token[51:] for other in ("\ud800", "\u00e9", "\uff21", "\x00", "+", "/")),
        token.swapcase(), token[:-1], token[:-2], token[:-4],
        json.dumps({"protected": head, "payload": payload, "signature": signature}),
        json.dumps({"payload": payload, "signatures": [{"protected": head, "signature": signature}]}),
        f"{base64url(encoded(issuer.header(alg='RSA-OAEP', enc='A256GCM')))}.AAAA.AAAA.{payload}.AAAA",
        "", ".", "..", "...", "a.b.c", "A.A.A", "AAAA.AAAA.AAAA", "\x00", "null",
    )  # fmt: skip


def other_alphabets(issuer: Issuer) -> Iterator[str]:
    """The letters of plain base64. The claims are chosen so that both of them stand in the token."""
    token = issuer.token(more="\u00ff\u00fe\u00bf>?" * 8)
    for number in range(500):
        if "-" in token and "_" in token:
            break
        token = issuer.token(more=number)
    for plain in (token.replace("-", "+"), token.replace("_", "/"), token.replace("-", "+").replace("_", "/")):
        assert plain != token
        yield plain


def spare_bits(part: str) -> list[str]:
    """Other last characters that decode to the same bytes, because base64 leaves bits over."""
    return [
        part[:-1] + character
        for character in string.ascii_letters + string.digits + "-_"
        if character != part[-1] and bytes_of(part[:-1] + character) == bytes_of(part)
    ]


def other_spare_bits(issuer: Issuer) -> Iterator[str]:
    """A reader that remembers tokens by what they decode to would know these."""
    for padding, segment in product(range(4), range(3)):
        header = json.dumps(issuer.header()) + " " * padding
        payload = json.dumps(issuer.claims()) + " " * padding
        parts = issuer.sign(header.encode(), payload.encode()).split(".")
        for other in spare_bits(parts[segment]):
            yield ".".join([*parts[:segment], other, *parts[segment + 1 :]])


def changed_signatures(issuer: Issuer) -> Iterator[str]:
    head, signature = issuer.sign().rsplit(".", 1)
    for position, character in enumerate(signature):
        other = "A" if character != "A" else "B"
        yield f"{head}.{signature[:position]}{other}{signature[position + 1 :]}"
    yield f"{signing_input(issuer.header(), issuer.claims(roles=['root']))}.{signature}"
    yield f"{signing_input(issuer.header(typ='application/at+jwt'), issuer.claims())}.{signature}"


def trivial_signatures(issuer: Issuer) -> Iterator[str]:
    text = signing_input(issuer.header(), issuer.claims())
    for r, s in product((0, 1, P256_ORDER - 1, P256_ORDER, 2**256 - 1), repeat=2):
        yield f"{text}.{base64url(r.to_bytes(32) + s.to_bytes(32))}"


def signatures_in_der_form(issuer: Issuer) -> Iterator[str]:
    head, signature = issuer.sign().rsplit(".", 1)
    raw = bytes_of(signature)
    yield f"{head}.{base64url(encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])))}"


def times_out_of_bounds(issuer: Issuer) -> Iterator[str]:
    """Of readers whose clock may be thirty seconds off."""
    for claims in (
        {"exp": START - 31},
        {"exp": START - 10**8, "iat": START - 10**8 - 900},
        {"iat": START + 31},
        {"iat": START + 10**8, "exp": START + 10**8 + 900},
        {"exp": START + 3601},
        {"exp": START + 10 * 365 * 86400},
        {"iat": START - 3600, "exp": START + 1},
        {"iat": 0, "exp": START + 900},
        {"exp": 0},
        {"exp": 2**40 - 1, "iat": 2**40 - 901},
        {"nbf": START + 31},
        {"nbf": START + 900},
        {"nbf": 2**40 - 1},
    ):
        yield issuer.token(**claims)


def one_character_too_long(issuer: Issuer) -> Iterator[str]:
    yield padded_to(issuer, MAX_CHARACTERS + 4)


def padded_to(issuer: Issuer, characters: int) -> str:
    """A token of at most so many characters, and at most three fewer."""

    def padded(length: int) -> str:
        return issuer.sign(payload=json.dumps(issuer.claims()).encode() + b" " * length)

    room = (characters - len(padded(0))) * 3 // 4 + 4
    found = next(token for token in (padded(room - less) for less in range(12)) if len(token) <= characters)
    assert characters - 3 <= len(found)
    return found


# One entry an attack. Those below are made under the key of every algorithm.
ATTACKS: dict[str, Attack] = {
    **{f"header {name or 'of no name'}": partial(_headers, name) for name in HEADER_MEMBERS},
    **{f"claim {name}": partial(_claims, name) for name in CLAIMS},
    **{
        attack.__name__.replace("_", " "): attack
        for attack in (
            header_that_makes_the_payload_opaque,
            header_that_two_readers_could_read_differently,
            claims_that_two_readers_could_read_differently,
            claims_that_are_no_numbers_at_all,
            header_or_claims_in_another_encoding,
            other_alphabets,
            other_spare_bits,
            changed_signatures,
            trivial_signatures,
            signatures_in_der_form,
            times_out_of_bounds,
            one_character_too_long,
        )
    },
}
ATTACKS_ON_EACH_ALGORITHM: dict[str, Attack] = {
    attack.__name__.replace("_", " "): attack
    for attack in (foreign_keys, hmac_under_the_public_key, unsecured, lost_signatures, other_spellings)
}

# Refused before anything is made of them: 10 MB of token once cost 0.37 s to parse.
JUNK = (
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
)


def nested(issuer: Issuer) -> Iterator[str]:
    """Headers and claims that open far more brackets than anything of ours."""
    for opening in ("[", '{"a":', '[{"a":'):
        text = (opening * 5000)[:5000].encode()
        yield issuer.sign(header=text)
        yield issuer.sign(payload=text)
