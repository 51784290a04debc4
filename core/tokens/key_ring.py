"""The key ring: the keys that sign access tokens, as a process holds them, and how they follow each other."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from jwt import PyJWK

from core.audit.model import EventKind, event
from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.origin import LOCAL_ORIGIN
from core.settings.groups import Algorithm, TokenSettings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.errors import KeyNumberTakenError
from core.tokens.key_material import PrivateKey, Seal, generate, public_jwk
from core.tokens.model import SigningKey, current, is_due, published, retired

# How long a process believes its copy of the ring. Far below the propagation time, so that every process knows
# a key before any process signs with it.
REFRESH = timedelta(seconds=30)
REFRESHES_A_PROPAGATION = 4
# An unknown kid may be a key that this process has not seen yet. Junk must not turn that into a query a request.
UNKNOWN_KID_COOLDOWN = timedelta(seconds=1)


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
            work.audit.add(event(EventKind.KEYS_RESEALED, at=self._clock.now(), origin=LOCAL_ORIGIN))
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
        work.audit.add(event(EventKind.KEY_ROTATED, at=key.created_at, origin=LOCAL_ORIGIN, subject=key.kid))
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
            keys = published(read.keys.all(), now)
        known = self._snapshot.verifiers if self._snapshot else {}
        verifiers = {key.kid: known.get(key.kid) or PyJWK(key.public_jwk) for key in keys}
        self._snapshot = _Snapshot(now, keys, verifiers)
        return self._snapshot
