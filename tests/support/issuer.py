"""An issuer for tests of the verifier: signs anything at all, and serves keys and revocations over real sockets."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms
from twinauth_verify.revocations import hash_of

Algorithm = Literal["ES256", "RS256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
AUDIENCE = "https://orders.example.com"
SUBJECT = "0197a3c2-6f1e-7d3a-9b52-0c6a1f4e8d21"
SESSION = "0197a3c2-7000-7c11-8e2f-5d9b3a6c4f10"
START = 1_795_253_400
ABSENT = type("Absent", (), {"__repr__": lambda _: "absent"})()


class FakeTime:
    """Clock and timer at once; both stand still until a test moves them."""

    def __init__(self) -> None:
        self.now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_of(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | changes).items() if value is not ABSENT}


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """One and the same each time for a number; making an RSA key takes its time."""
    del number
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def public_members(key: Any) -> dict[str, Any]:
    algorithm: Any = {ec.EllipticCurvePrivateKey: ECAlgorithm, rsa.RSAPrivateKey: RSAAlgorithm}
    kind = next((made for base, made in algorithm.items() if isinstance(key, base)), OKPAlgorithm)
    members: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return members


@dataclass
class Signer:
    """A key pair of an algorithm, with which anything can be signed."""

    algorithm: Algorithm = "ES256"
    number: int = 0

    @property
    def key(self) -> Any:
        return private_key(self.algorithm, self.number)

    @property
    def kid(self) -> str:
        return f"{self.algorithm}-{self.number}"

    @property
    def jwk(self) -> dict[str, Any]:
        return {**public_members(self.key), "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, header: Any, payload: Any) -> str:
        text = signing_input(header, payload)
        signature = get_default_algorithms()[self.algorithm].sign(text.encode(), self.key)
        return f"{text}.{base64url(signature)}"


def signing_input(header: Any, payload: Any) -> str:
    return f"{base64url(encoded(header))}.{base64url(encoded(payload))}"


@dataclass
class Reply:
    """An answer as the server is to give it, whatever it is."""

    body: bytes
    media_type: str = "application/json"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0


@dataclass
class Issuer:
    """What an issuer says. A test may replace any answer by one of its own."""

    issuer: str = "https://auth.example.com"
    clock: Callable[[], float] = time.time
    signer: Signer = field(default_factory=Signer)
    published: list[Signer] | None = None
    entries: list[dict[str, Any]] = field(default_factory=list)
    batch: int = 1000
    jwks_reply: Callable[[], Reply] | None = None
    feed_reply: Callable[[str | None], Reply] | None = None
    jwks_requests: list[float] = field(default_factory=list)
    feed_requests: list[dict[str, str]] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)
    closing: bool = False

    def header(self, **changes: Any) -> dict[str, Any]:
        return changed({"alg": self.signer.algorithm, "typ": "at+jwt", "kid": self.signer.kid}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.clock())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": SUBJECT,
            "client_id": "twinauth",
            "iat": now,
            "exp": now + 900,
            "jti": "a token",
            "sid": SESSION,
            "roles": ["admin"],
            "scope": "orders:read orders:write",
        }
        return changed(claims, changes)

    def sign(self, header: Any = None, payload: Any = None) -> str:
        return self.signer.sign(
            self.header() if header is None else header, self.claims() if payload is None else payload
        )

    def token(self, **changes: Any) -> str:
        return self.sign(payload=self.claims(**changes))

    def jwks(self) -> Reply:
        self.jwks_requests.append(time.monotonic())
        if self.jwks_reply is not None:
            return self.jwks_reply()
        keys = [signer.jwk for signer in self.published or [self.signer]]
        return Reply(json.dumps({"keys": keys}).encode())

    def feed(self, query: dict[str, str]) -> Reply:
        self.feed_requests.append(query)
        since = query.get("since")
        if self.feed_reply is not None:
            return self.feed_reply(since)
        with self.news:
            position = int(since or 0)
            self.news.wait_for(lambda: self.closing or len(self.entries) > position, float(query.get("wait", 0)))
        return self.feed_answer(since)

    def feed_answer(self, since: str | None, /, *, header: dict[str, Any] | None = None, **changes: Any) -> Reply:
        told = self.entries[int(since or 0) :][: self.batch]
        payload = {
            "iss": self.issuer,
            "iat": int(self.clock()),
            "since": since,
            "cursor": str(int(since or 0) + len(told)),
            "revocations": told,
        }
        text = self.sign(self.header(typ="revocations+jwt", **header or {}), changed(payload, changes))
        return Reply(text.encode(), "application/jwt")

    def revoke(self, kind: str, value: str, **changes: Any) -> None:
        exp = int(self.clock()) + 3600
        with self.news:
            self.entries.append(changed({"kind": kind, "id": hash_of(value), "exp": exp}, changes))
            self.news.notify_all()

    def close(self) -> None:
        with self.news:
            self.closing = True
            self.news.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    issuer: Issuer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        reply = self.issuer.feed(query) if parts.path == "/v1/revocations" else self.issuer.jwks()
        time.sleep(reply.delay)
        self.send_response(reply.status)
        headers = {"Content-Type": reply.media_type, "Content-Length": str(len(reply.body))}
        for name, value in (headers | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if not reply.drip:
            self.wfile.write(reply.body)
            return
        for position in range(len(reply.body)):
            self.wfile.write(reply.body[position : position + 1])
            time.sleep(reply.drip)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A verifier that hangs up is no error here."""


@contextmanager
def listening(issuer: Issuer, port: int = 0) -> Iterator[str]:
    """Serve an issuer on a free port of the loopback interface, and set its name to that address."""
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"issuer": issuer}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    issuer.closing = False
    issuer.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield issuer.issuer
    finally:
        issuer.close()
        server.shutdown()
        server.server_close()
        thread.join()


def eventually(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
