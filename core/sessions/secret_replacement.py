"""Replacing a secret key that leaked: nothing that was derived from it, or stored under it, is worth anything after."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from core.clock import Clock
from core.sessions.model import EndReason
from core.storage.retries import retried
from core.store import Store
from core.tokens.errors import SecretInUseError
from core.tokens.key_ring import KeyRing
from core.tokens.model import SigningKey

BATCH = 500  # rows; a transaction of some milliseconds, so that SQLite's one writer is soon free again


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What ended, and the key that signs now."""

    sessions: int
    links: int
    signing: SigningKey


class SecretReplacement:
    """Ends what the holder of the old secret and of a copy of the database could present or sign.

    The proofs of refresh tokens and of links come from seeds in the database, so a copy and the secret together make
    them; signing keys lie sealed in each copy. Passwords, secrets of clients and addresses do not depend on it.
    """

    def __init__(self, *, store: Store, clock: Clock, ring: KeyRing) -> None:
        self._store = store
        self._clock = clock
        self._ring = ring

    def run(self) -> Replaced:
        """End every session, link and signing key, and sign with a new key at once.

        The keys come last: a run that was cut off can be done again, until they are under the new secret.

        Raises:
            SecretInUseError: the secret opens signing keys, so it is not a new one.
            KeyNumberTakenError: another process rotated at the same moment; the run can be done again.

        """
        if self._ring.keys() and not self._ring.is_locked:
            raise SecretInUseError
        sessions, links = self._end_sessions(), self._end_links()
        return Replaced(sessions=sessions, links=links, signing=self._ring.renew())

    def _end_sessions(self) -> int:
        total, last = self._end_next_sessions(None)
        while last is not None:
            count, last = self._end_next_sessions(last)
            total += count
        return total

    @retried
    def _end_next_sessions(self, after: uuid.UUID | None) -> tuple[int, uuid.UUID | None]:
        with self._store.begin() as work:
            ended = work.sessions.end_next(after, at=self._clock.now(), reason=EndReason.REVOKED, limit=BATCH)
            work.commit()
        return ended

    def _end_links(self) -> int:
        total = 0
        while count := self._end_some_links():
            total += count
        return total

    @retried
    def _end_some_links(self) -> int:
        with self._store.begin() as work:
            ended = work.one_time_tokens.end_some(at=self._clock.now(), limit=BATCH)
            work.commit()
        return ended
