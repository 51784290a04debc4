"""The key ring: the keys that sign access tokens, their life, and what verifiers may know of them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from core.audit import LOCAL, EventKind, event
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.retries import retried
from core.settings import MAX_ACCESS_TTL, Algorithm, TokenSettings

if TYPE_CHECKING:
    from core.store import Store, UnitOfWork

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS = 3072  # 128 bits of strength (NIST SP 800-57 table 2; ASVS 5.0 11.2.3)
NONCE_BYTES = 12
# A key outlives the last token it can have signed by this much, for verifiers whose clocks are late.
SKEW = timedelta(minutes=5)
# How long a process believes its copy of the ring. Far below the propagation time, so that every process knows
# a key before any process signs with it.
REFRESH = timedelta(seconds=30)
REFRESHES_A_PROPAGATION = 4
# An unknown kid may be a key that this process has not seen yet. Junk must not turn that into a query a request.
UNKNOWN_KID_COOLDOWN = timedelta(seconds=1)


class KeyRingLockedError(Exception):
    """The secret key is not the one under which the private keys were stored."""


class KeyNumberTakenError(Exception):
    """Another process added a key at the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key of the ring. ``number`` counts the keys, so that of two rotations at once only one can win."""

    kid: str
    number: int
    algorithm: Algorithm
    public_jwk: dict[str, Any]
    sealed_private_key: bytes = field(repr=False)
    created_at: datetime
    activates_at: datetime


class Keys(Protocol):
    """Port: the signing keys inside one unit of work."""

    def all(self) -> list[SigningKey]:
        """Every key, oldest first."""
        ...

    def add(self, key: SigningKey) -> None:
        """Store a new key.

        Raises:
            KeyNumberTakenError: the ring has a key of this number.

        """
        ...

    def remove(self, kid: str) -> None:
        """Forget a key."""
        ...

    def replace_sealed(self, kid: str, sealed_private_key: bytes) -> None:
        """Store the private key as it is sealed now."""
        ...


def current(keys: list[SigningKey], now: datetime) -> SigningKey | None:
    """The key to sign with: the newest whose time has come."""
    return max((key for key in keys if key.activates_at <= now), key=lambda key: key.number, default=None)


def retired(keys: list[SigningKey], now: datetime) -> list[SigningKey]:
    """The keys whose last token has run out: a newer one has been signing for longer than any token lives."""
    signing = current(keys, now)
    if signing is None:
        return []
    successor = {key.number: later for key, later in itertools.pairwise(keys)}
    return [
        key
        for key in keys
        if key.number < signing.number and successor[key.number].activates_at + MAX_ACCESS_TTL + SKEW <= now
    ]


def is_due(keys: list[SigningKey], now: datetime, settings: TokenSettings) -> bool:
    """Whether a successor of the newest key must be published now. The first key of a ring succeeds nobody."""
    return bool(keys) and now >= keys[-1].activates_at + settings.key_lifetime - settings.key_propagation


def thumbprint(jwk: dict[str, Any]) -> str:
    """The RFC 7638 thumbprint: SHA-256 over the required members in lexicographic order."""
    required = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    canonical = json.dumps({name: jwk[name] for name in required}, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def generate(algorithm: Algorithm) -> PrivateKey:
    """Make a private key for ``algorithm``."""
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()


def public_jwk(private_key: PrivateKey, algorithm: Algorithm) -> dict[str, Any]:
    """The public half as a JWK (RFC 7517) with ``kid``, ``use`` and ``alg``."""
    match private_key:
        case ec.EllipticCurvePrivateKey():
            members = ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        case rsa.RSAPrivateKey():
            members = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            members = OKPAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return {**members, "kid": thumbprint(members), "use": "sig", "alg": algorithm}


class Seal:
    """Encrypts private keys for storage (AES-256-GCM, bound to their kid), and opens what older secrets sealed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def close(self, private_key: PrivateKey, kid: str) -> bytes:
        """Encrypt a private key."""
        der = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, der, kid.encode())

    def open(self, sealed: bytes, kid: str) -> PrivateKey:
        """Decrypt a private key.

        Raises:
            KeyRingLockedError: it was sealed under another secret.

        """
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):
                der = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], kid.encode())
                key = load_der_private_key(der, password=None)
                if isinstance(key, PrivateKey):
                    return key
        raise KeyRingLockedError


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The ring as this process last read it, with everything made ready for the hot path."""

    read_at: datetime
    keys: list[SigningKey]
    verifiers: dict[str, PyJWK]


class KeyRing:
    """The ring as the token code uses it: cached, shared by all threads, and read again on a schedule.

    Whoever signs or verifies only reads, but for the first key of all.
    """

    def __init__(self, *, store: Store, clock: Clock, seal: Seal, settings: TokenSettings) -> None:
        self._store = store
        self._clock = clock
        self._seal = seal
        self._settings = settings
        self._refresh = min(REFRESH, settings.key_propagation / REFRESHES_A_PROPAGATION)
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._opened: tuple[str, PrivateKey] | None = None

    def signer(self) -> tuple[SigningKey, PrivateKey]:
        """The key to sign with now, and its private half.

        Raises:
            KeyRingLockedError: the secret key does not open it.

        """
        keys = self._fresh().keys
        if not keys:
            self.ensure()
            keys = self._fresh().keys
        # None is active yet where this clock is behind the one that made the first key: that key is the one then.
        key = current(keys, self._clock.now()) or keys[0]
        opened = self._opened
        if opened is None or opened[0] != key.kid:
            opened = self._opened = (key.kid, self._seal.open(key.sealed_private_key, key.kid))
        return key, opened[1]

    def verifier(self, kid: str) -> PyJWK | None:
        """The public key with this id, from our own ring and nowhere else."""
        snapshot = self._fresh()
        if kid not in snapshot.verifiers and self._age(snapshot) >= UNKNOWN_KID_COOLDOWN:
            snapshot = self._read()
        return snapshot.verifiers.get(kid)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JWK set (RFC 7517), among them the one that will sign next."""
        return {"keys": [key.public_jwk for key in self._fresh().keys]}

    def keys(self) -> list[SigningKey]:
        """Every key of the ring, read now."""
        return self._read().keys

    def ensure(self) -> None:
        """Make the first key where there is none. It signs at once: nobody can have an older copy of this ring."""
        if self._read().keys:
            return
        with contextlib.suppress(KeyNumberTakenError):
            self._add_first(self._make(self._settings.algorithm, activates_after=timedelta(0)))
        self._read()

    def rotate(self, algorithm: Algorithm | None = None) -> SigningKey:
        """Publish a new key, which signs once every verifier can have seen it, and drop keys that nobody needs.

        Raises:
            KeyNumberTakenError: another process rotated at the same moment.

        """
        key = self._add_next(self._make_next(algorithm or self._settings.algorithm))
        self._read()
        return key

    def rotate_when_due(self) -> None:
        """Publish the next key in time for it to take over when this one has signed long enough.

        Any number of processes may ask, again and again: one of them rotates. Whoever comes late does no harm; the old
        key signs on until the new one was published for as long as every key is.
        """
        if not self._is_due():
            return
        key = self._make_next(self._settings.algorithm)
        with contextlib.suppress(KeyNumberTakenError):  # another process had the same thought
            if self._add_when_due(key):
                self._read()

    @retried
    def reseal(self) -> int:
        """Encrypt every private key under the first secret; the older ones are not needed for keys any more.

        Raises:
            KeyRingLockedError: a key opens under none of the secrets.

        """
        with self._store.begin() as work:
            keys = work.keys.all()
            for key in keys:
                private_key = self._seal.open(key.sealed_private_key, key.kid)
                work.keys.replace_sealed(key.kid, self._seal.close(private_key, key.kid))
            work.audit.add(event(EventKind.KEYS_RESEALED, at=self._clock.now(), client=LOCAL))
            work.commit()
        return len(keys)

    @retried
    def _add_first(self, key: SigningKey) -> None:
        with self._store.begin() as work:
            # Asked again inside: of several first starts, one makes it, and the others find it or lose to it.
            if not work.keys.all():
                work.keys.add(key)
                work.commit()

    @retried
    def _is_due(self) -> bool:
        with self._store.reading() as read:
            return is_due(read.keys.all(), self._clock.now(), self._settings)

    @retried
    def _add_next(self, key: SigningKey) -> SigningKey:
        with self._store.begin() as work:
            key = self._succeed(work, work.keys.all(), key)
            work.commit()
        return key

    @retried
    def _add_when_due(self, key: SigningKey) -> bool:
        with self._store.begin() as work:
            keys = work.keys.all()
            # Asked again inside: while this key was being made, another process may have published its own.
            if not is_due(keys, self._clock.now(), self._settings):
                return False
            self._succeed(work, keys, key)
            work.commit()
        return True

    def _succeed(self, work: UnitOfWork, keys: list[SigningKey], key: SigningKey) -> SigningKey:
        """Add the successor of these keys, and remove those that nobody needs any more."""
        for old in retired(keys, self._clock.now()):
            work.keys.remove(old.kid)
        key = replace(key, number=max((key.number for key in keys), default=0) + 1)
        work.keys.add(key)
        work.audit.add(event(EventKind.KEY_ROTATED, at=key.created_at, client=LOCAL, subject=key.kid))
        return key

    def _make_next(self, algorithm: Algorithm) -> SigningKey:
        return self._make(algorithm, activates_after=self._settings.key_propagation)

    def _make(self, algorithm: Algorithm, *, activates_after: timedelta) -> SigningKey:
        """Make a key, outside any unit of work: an RSA key takes a second in which nobody else could write."""
        now = self._clock.now()
        private_key = generate(algorithm)
        jwk = public_jwk(private_key, algorithm)
        return SigningKey(
            kid=jwk["kid"],
            number=1,
            algorithm=algorithm,
            public_jwk=jwk,
            sealed_private_key=self._seal.close(private_key, jwk["kid"]),
            created_at=now,
            activates_at=now + activates_after,
        )

    def _fresh(self) -> _Snapshot:
        snapshot = self._snapshot
        if snapshot is None:
            return self._read()
        if self._age(snapshot) < self._refresh or not self._lock.acquire(blocking=False):
            return snapshot
        try:
            return self._read()
        except DatabaseUnavailable:
            return snapshot  # an old ring is a ring; the request itself will say that the database is away
        finally:
            self._lock.release()

    def _age(self, snapshot: _Snapshot) -> timedelta:
        """How old a copy is, in either direction: after a clock was set back, the copy is old, not young."""
        return abs(self._clock.now() - snapshot.read_at)

    @retried
    def _read(self) -> _Snapshot:
        now = self._clock.now()
        with self._store.reading() as read:
            stored = read.keys.all()
        gone = {key.kid for key in retired(stored, now)}
        keys = [key for key in stored if key.kid not in gone]
        known = self._snapshot.verifiers if self._snapshot else {}
        verifiers = {key.kid: known.get(key.kid) or PyJWK(key.public_jwk) for key in keys}
        self._snapshot = _Snapshot(now, keys, verifiers)
        return self._snapshot
