"""The issuer's revocations whose tokens have not all expired. Values are known by their hashes only."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twinauth_verify.forks import LockHolder
from twinauth_verify.strict_json import seconds, text
from twinauth_verify.tokens import AccessToken

SESSION, SUBJECT, TOKEN, KEY = "session", "subject", "token", "key"
KINDS = (SESSION, SUBJECT, TOKEN, KEY)
_FOREVER = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One entry of the feed."""

    kind: str
    value_hash: str
    not_before: int
    """Tokens that were issued before this second are revoked."""
    expires_at: int
    """All tokens concerned have expired by this second; of a key never, because its holder can sign new ones."""


def read_revocation(entry: Any) -> Revocation | None:
    """Read an entry; None if its kind is unknown.

    Raises:
        ValueError: it is malformed.

    """
    if not isinstance(entry, dict):
        raise ValueError("no entry")  # noqa: TRY004 - callers know one error
    kind = text(entry, "kind")
    if kind not in KINDS:
        return None
    expires_at = seconds(entry, "exp")
    return Revocation(
        kind=kind,
        value_hash=text(entry, "id"),
        not_before=seconds(entry, "not_before") if kind == SUBJECT else _FOREVER,
        expires_at=_FOREVER if kind == KEY else expires_at,
    )


def hash_of(value: str) -> str:
    """Return the hash of a value, as in the feed."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()).rstrip(b"=").decode()


class Revocations(LockHolder):
    """All current revocations; read by every request, written by one follower."""

    def __init__(self, *, clock: Callable[[], float], clock_skew: float) -> None:
        self._clock = clock
        self._clock_skew = clock_skew
        self._entries: dict[tuple[str, str], Revocation] = {}
        super().__init__()

    def _make_locks(self) -> None:
        """Make the lock of the entries."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Add entries. No entry undoes another, in whatever order they come."""
        with self._lock:
            for new in revocations:
                name = (new.kind, new.value_hash)
                self._entries[name] = _both(self._entries.get(name, new), new)

    def forget_expired(self) -> None:
        """Forget entries whose tokens have all expired, by the slowest clock within the skew."""
        with self._lock:
            now = self._clock() - self._clock_skew
            for name in [name for name, entry in self._entries.items() if entry.expires_at <= now]:
                del self._entries[name]

    def contain(self, token: AccessToken) -> bool:
        """Whether a token is revoked: by its id, session or subject, never by its text; ECDSA signatures have twins."""
        if not self._entries:
            return False
        issued_at: int = token.claims["iat"]
        values = ((SESSION, token.session_id), (SUBJECT, token.subject), (TOKEN, token.token_id))
        found = (self._entries.get((kind, hash_of(value))) for kind, value in values if value is not None)
        return any(entry is not None and issued_at < entry.not_before for entry in found)

    def contain_key(self, kid: str) -> bool:
        """Whether the issuer has ended a key: nothing that it signs is believed, whatever key set still has it."""
        return bool(self._entries) and (KEY, hash_of(kid)) in self._entries


def _both(one: Revocation, other: Revocation) -> Revocation:
    return Revocation(
        kind=one.kind,
        value_hash=one.value_hash,
        not_before=max(one.not_before, other.not_before),
        expires_at=max(one.expires_at, other.expires_at),
    )
