"""The key ring: the keys that sign access tokens, cached in each process, and their rotation."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from jwt import PyJWK

from core.audit.model import EventKind, event
from core.clock import Clock
from core.errors import DatabaseUnavailable, NotFound
from core.origin import LOCAL_ORIGIN
from core.settings.groups import Algorithm, TokenSettings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.errors import KeyNumberTakenError, KeysLocked
from core.tokens.key_material import PrivateKey, Seal, generate, public_jwk
from core.tokens.model import SigningKey, current, is_due, premature, published, retired, retirement, successor

# How long a process uses its copy of the ring. A leaked key that was retired must be refused at once by every process;
# reading the ring takes 0.3 ms.
REFRESH = timedelta(seconds=1)
REFRESHES_A_PROPAGATION = 4
# An unknown kid may be a new key. But with junk kids, each request would read the ring again.
UNKNOWN_KID_COOLDOWN = timedelta(seconds=1)

log = structlog.get_logger("keys")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The ring as this process last read it, prepared for the hot path."""

    read_at: datetime
    keys: list[SigningKey]
    verifiers: dict[str, PyJWK]


class KeyRing:
    """The ring as the token code uses it: cached, shared by all threads, and read again on a schedule.

    Signing and verifying only read the database, except when they make the first key of all.
    """

    def __init__(self, *, store: Store, clock: Clock, seal: Seal, settings: TokenSettings) -> None:
        self._store = store
        self._clock = clock
        self._seal = seal
        self._settings = settings
        self._refresh = min(REFRESH, settings.key_propagation / REFRESHES_A_PROPAGATION)
        self._lock = threading.Lock()
        self._snapshot: _Snapshot | None = None
        self._opened: dict[bytes, PrivateKey | None] = {}  # by what is stored, which `reseal` replaces

    def signer(self) -> tuple[SigningKey, PrivateKey]:
        """Return the key to sign with now, and its private half.

        Raises:
            KeysLocked: every private half was encrypted under another secret.

        """
        keys = self._fresh().keys
        if not keys:
            self.ensure()
            keys = self._fresh().keys
        usable = self._usable(keys)
        if not usable:
            raise KeysLocked
        # No key is active yet if this clock is behind that of the process that made the first key: then use that key.
        key = current(usable, self._clock.now()) or usable[0]
        private_key = self._open(key)
        assert private_key is not None  # noqa: S101 - it is among the usable ones
        return key, private_key

    @property
    def is_locked(self) -> bool:
        """Whether there are keys, and none of them can be opened: no token can be signed."""
        keys = self._fresh().keys
        return bool(keys) and not self._usable(keys)

    def _usable(self, keys: list[SigningKey]) -> list[SigningKey]:
        """Return the keys that can be opened. One that cannot decides nothing: it must not retire those that can."""
        return [key for key in keys if self._open(key) is not None]

    def _with_own_public_key(self, key: SigningKey, private_key: PrivateKey) -> SigningKey:
        """Return a key whose public half is that of its private one.

        The stored one is sealed by nothing: whoever writes in the database alone could put a key of theirs there, and
        sign tokens for everybody.
        """
        return replace(key, public_jwk=public_jwk(private_key, key.algorithm))

    def _open(self, key: SigningKey) -> PrivateKey | None:
        sealed = key.sealed_private_key
        if sealed not in self._opened:
            self._opened[sealed] = self._try_to_open(key)
        return self._opened[sealed]

    def _try_to_open(self, key: SigningKey) -> PrivateKey | None:
        with contextlib.suppress(KeysLocked):
            return self._seal.open(key.sealed_private_key, key.kid)
        return None

    def verifier(self, kid: str) -> PyJWK | None:
        """Return the public key with this id, from our own ring only.

        Raises:
            KeysLocked: every private half was encrypted under another secret, so that a token cannot be told from a
                forged one. It is not the token that is wrong: clients would give theirs up.

        """
        snapshot = self._fresh()
        if kid not in snapshot.verifiers and self._age(snapshot) >= UNKNOWN_KID_COOLDOWN:
            snapshot = self._read()
        if snapshot.keys and not snapshot.verifiers:
            raise KeysLocked
        return snapshot.verifiers.get(kid)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """Return the public keys as a JWK set (RFC 7517), among them the one that will sign next."""
        snapshot = self._fresh()
        return {"keys": [key.public_jwk for key in snapshot.keys if key.kid in snapshot.verifiers]}

    def keys(self) -> list[SigningKey]:
        """Read every key of the ring now."""
        return self._read().keys

    def ensure(self) -> None:
        """Make the first key if there is none. It signs at once: no verifier has an older copy of this ring."""
        if self._read().keys:
            return
        with contextlib.suppress(KeyNumberTakenError):
            self._add_first(self._make(self._settings.algorithm, activates_after=timedelta(0)))
        self._read()

    def rotate(self, algorithm: Algorithm | None = None) -> SigningKey:
        """Publish a new key, which signs as soon as every verifier can have seen it, and remove old keys.

        Raises:
            KeysLocked: none of the present keys can be opened; one more, under another secret, would break
                every login as soon as it signs.
            KeyNumberTakenError: another process rotated at the same moment.

        """
        self.signer()
        key = self._add_next(self._make_next(algorithm or self._settings.algorithm))
        self._read()
        return key

    def rotate_when_due(self) -> None:
        """Publish the next key early enough to sign when the lifetime of this one is over.

        Any number of processes may call this again and again: one of them rotates. A late rotation does no harm: the
        old key signs until the new one has been published for the whole propagation time.
        """
        if self.is_locked or not self._is_due():
            return
        key = self._make_next(self._settings.algorithm)
        with contextlib.suppress(KeyNumberTakenError):  # another process rotated at the same moment
            if self._add_when_due(key):
                self._read()

    def retire(self, kid: str) -> SigningKey:
        """End a leaked key, with everything that it has signed, and return the key that signs now.

        Where it signs itself, the next key signs before all verifiers have seen it: they fetch a key that they do not
        know, and wrong tokens are worse than a late one.

        Raises:
            NotFound: the ring has no such key.
            KeysLocked: none of the keys can be opened, so that no other one could sign.
            KeyNumberTakenError: another process rotated at the same moment; nothing was retired.

        """
        if self.is_locked:
            raise KeysLocked
        self._retire(kid, self._make(self._settings.algorithm, activates_after=timedelta(0)))
        self._read()
        return self.signer()[0]

    def renew(self) -> SigningKey:
        """End every key, whichever secret it was stored under, and return a new one that signs at once.

        Raises:
            KeyNumberTakenError: another process rotated at the same moment; nothing was ended.

        """
        key = self._renew(self._make(self._settings.algorithm, activates_after=timedelta(0)))
        self._read()
        return key

    @retried
    def reseal(self) -> int:
        """Encrypt every private key under the first secret; then keys no longer need the older secrets.

        Raises:
            KeysLocked: a key was encrypted under none of the secrets.

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
    def _retire(self, kid: str, spare: SigningKey) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            keys = work.keys.all()
            if kid not in {key.kid for key in keys}:
                raise NotFound
            self._end(work, kid, now)
            signing = current(self._usable(keys), now)
            if signing is None or signing.kid == kid:
                self._take_over(work, keys, spare, ended=kid, now=now)
            work.commit()

    @retried
    def _renew(self, key: SigningKey) -> SigningKey:
        now = self._clock.now()
        with self._store.begin() as work:
            keys = work.keys.all()
            for old in keys:
                self._end(work, old.kid, now)
            key = self._add(work, keys, key)
            work.audit.add(event(EventKind.SECRET_REPLACED, at=now, origin=LOCAL_ORIGIN))
            work.commit()
        return key

    def _end(self, work: UnitOfWork, kid: str, now: datetime) -> None:
        work.keys.remove(kid)
        work.revocations.add([retirement(kid, at=now)])
        work.audit.add(event(EventKind.KEY_RETIRED, at=now, origin=LOCAL_ORIGIN, subject=kid))

    def _take_over(
        self, work: UnitOfWork, keys: list[SigningKey], spare: SigningKey, *, ended: str, now: datetime
    ) -> None:
        """Let the next key sign at once; the spare one, where none was published yet."""
        following = successor([key for key in self._usable(keys) if key.kid != ended], now)
        if following is None:
            self._add(work, keys, spare)
        else:
            work.keys.activate(following.kid, at=now)

    @retried
    def _add_first(self, key: SigningKey) -> None:
        with self._store.begin() as work:
            # Checked again inside: of several first starts, one adds a key; the others find it, or their commit fails.
            if not work.keys.all():
                work.keys.add(key)
                work.commit()

    @retried
    def _is_due(self) -> bool:
        with self._store.reading() as read:
            return is_due(self._usable(read.keys.all()), self._clock.now(), self._settings)

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
            # Checked again inside: while this key was being made, another process may have published its own.
            if not is_due(self._usable(keys), self._clock.now(), self._settings):
                return False
            self._succeed(work, keys, key)
            work.commit()
        for wrong in premature(keys, key.created_at, self._settings):
            log.error(
                "a clock was ahead when it published a signing key; the next key takes its place",
                kid=wrong.kid,
                activates_at=wrong.activates_at.isoformat(),
                next_kid=key.kid,
            )
        return True

    def _succeed(self, work: UnitOfWork, keys: list[SigningKey], key: SigningKey) -> SigningKey:
        """Add the successor of these keys, and remove retired ones."""
        for old in retired(self._usable(keys), self._clock.now()):
            work.keys.remove(old.kid)
        return self._add(work, keys, key)

    def _add(self, work: UnitOfWork, keys: list[SigningKey], key: SigningKey) -> SigningKey:
        key = replace(key, number=max((key.number for key in keys), default=0) + 1)
        work.keys.add(key)
        work.audit.add(event(EventKind.KEY_ROTATED, at=key.created_at, origin=LOCAL_ORIGIN, subject=key.kid))
        return key

    def _make_next(self, algorithm: Algorithm) -> SigningKey:
        return self._make(algorithm, activates_after=self._settings.key_propagation)

    def _make(self, algorithm: Algorithm, *, activates_after: timedelta) -> SigningKey:
        """Make a key, outside any unit of work: an RSA key takes a second, which would block other writers."""
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
            return snapshot  # use the old copy; a request that needs the database fails by itself
        finally:
            self._lock.release()

    def _age(self, snapshot: _Snapshot) -> timedelta:
        """Return the absolute age of a copy: after a clock was set back, the copy is old, not new."""
        return abs(self._clock.now() - snapshot.read_at)

    @retried
    def _read(self) -> _Snapshot:
        now = self._clock.now()
        with self._store.reading() as read:
            stored = read.keys.all()
        opened = [(key, self._open(key)) for key in stored]
        locked = [key for key, private_key in opened if private_key is None]
        usable = [self._with_own_public_key(key, private_key) for key, private_key in opened if private_key is not None]
        believed = published(usable, now)
        keys = sorted((*believed, *locked), key=lambda key: key.number)
        if usable and locked and self._snapshot is None:
            log.error("signing keys of another secret are passed over", kids=[key.kid for key in locked])
        known = self._snapshot.verifiers if self._snapshot else {}
        verifiers = {key.kid: known.get(key.kid) or PyJWK(key.public_jwk) for key in believed}
        self._snapshot = _Snapshot(now, keys, verifiers)
        return self._snapshot
