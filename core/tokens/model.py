"""Signing keys and revocations: the values, and the decisions about keys, from publication to retirement."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, Self

from core.clock import CLOCK_SKEW, new_id
from core.settings.groups import MAX_ACCESS_TTL, Algorithm, TokenSettings
from core.tokens.errors import UnknownCursor

# How long a key is published after its last token has expired, for verifiers whose clocks are late.
SKEW = timedelta(minutes=5)
# How long the feed says that a key was retired: verifiers that cannot fetch the JWKS use the keys they know for a day.
RETIREMENT_TOLD = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key of the ring. ``number`` counts the keys and is unique, so that of two rotations at once one fails."""

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
        """Return every key, oldest first."""
        ...

    def add(self, key: SigningKey) -> None:
        """Store a new key.

        Raises:
            KeyNumberTakenError: the ring has a key of this number.

        """
        ...

    def remove(self, kid: str) -> None:
        """Delete a key."""
        ...

    def activate(self, kid: str, *, at: datetime) -> None:
        """Let a published key sign from ``at`` on."""
        ...

    def replace_sealed(self, kid: str, sealed_private_key: bytes) -> None:
        """Replace the encrypted private key."""
        ...


def current(keys: list[SigningKey], now: datetime) -> SigningKey | None:
    """Return the key to sign with: the newest active one."""
    return max((key for key in keys if key.activates_at <= now), key=lambda key: key.number, default=None)


def retired(keys: list[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys whose last token has expired: a newer key has signed for longer than any token lives."""
    signing = current(keys, now)
    if signing is None:
        return []
    long_ago = now - MAX_ACCESS_TTL - SKEW
    return [
        key
        for key in keys
        if key.number < signing.number
        and any(later.number > key.number and later.activates_at <= long_ago for later in keys)
    ]


def published(keys: list[SigningKey], now: datetime) -> list[SigningKey]:
    """Return the keys for verifiers: those that sign, will sign, or have signed a token that may still be valid."""
    expired = {key.kid for key in retired(keys, now)}
    return [key for key in keys if key.kid not in expired]


def successor(keys: list[SigningKey], now: datetime) -> SigningKey | None:
    """Return the key that is published and will sign next."""
    return min((key for key in keys if key.activates_at > now), key=lambda key: key.number, default=None)


def premature(keys: list[SigningKey], now: datetime, settings: TokenSettings) -> list[SigningKey]:
    """Return the keys that were published by a clock that was ahead: they sign later than a key published now."""
    return [key for key in keys if key.activates_at > now + settings.key_propagation + CLOCK_SKEW]


def is_due(keys: list[SigningKey], now: datetime, settings: TokenSettings) -> bool:
    """Whether a successor of the newest key must be published now; an empty ring has no key to succeed.

    A premature key does not count: it would put every rotation off until the time that the wrong clock showed.
    """
    wrong = premature(keys, now, settings)
    latest = max((key.activates_at for key in keys if key not in wrong), default=None)
    return bool(keys) and (latest is None or now >= latest + settings.key_lifetime - settings.key_propagation)


class RevocationKind(StrEnum):
    """Which tokens a revocation ends."""

    SESSION = "session"
    """Every token with this `sid`."""
    SUBJECT = "subject"
    """Every token with this `sub` that was issued before `not_before`."""
    TOKEN = "token"  # noqa: S105 - a kind
    """The token with this `jti`."""
    KEY = "key"
    """Everything that the key with this `kid` has signed, tokens and answers of the feed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One entry of the feed. The value is hashed, so that the feed reveals nothing to readers without the token."""

    id: uuid.UUID
    kind: RevocationKind
    value_hash: str
    not_before: datetime | None
    expires_at: datetime


def retirement(kid: str, *, at: datetime) -> Revocation:
    """Return the entry that ends a key, whose thumbprint no other key will ever have."""
    return Revocation(
        id=new_id(at),
        kind=RevocationKind.KEY,
        value_hash=hash_of(kid),
        not_before=None,
        expires_at=at + RETIREMENT_TOLD,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The place behind one entry of the feed: its number, and a random part of its id.

    A number alone says nothing about the database that gave it. After a failover that lost commits, the feed counts
    again from an earlier number, and a verifier that is ahead would hear nothing more.
    """

    number: int
    tag: str

    @classmethod
    def behind(cls, number: int, entry_id: uuid.UUID) -> Self:
        """Return the cursor behind an entry."""
        return cls(number=number, tag=entry_id.hex[-_TAG_CHARACTERS:])

    def __str__(self) -> str:
        return f"{self.number}.{self.tag}"


_CURSOR = re.compile(r"([0-9]{1,18})(?:\.([0-9a-f]{16}))?")  # a number fits a BIGINT
_TAG_CHARACTERS = 16  # 62 random bits and two that are not


def parse_cursor(text: str | None) -> Cursor | None:
    """Read a cursor; None for the beginning, as also for a number alone, which earlier versions gave out.

    Raises:
        UnknownCursor: it is malformed.

    """
    match = _CURSOR.fullmatch(text) if text is not None else None
    if text is not None and match is None:
        raise UnknownCursor
    return Cursor(number=int(match[1]), tag=match[2]) if match and match[2] else None


class Revocations(Protocol):
    """Port: the revocations inside one unit of work."""

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Store new entries, not yet numbered."""
        ...

    def has_unnumbered(self) -> bool:
        """Whether there are entries without a number."""
        ...

    def newest(self) -> Cursor | None:
        """Return the cursor behind the newest entry that has a number."""
        ...

    def number(self, *, limit: int) -> int:
        """Number up to ``limit`` committed entries, one process at a time; return their number."""
        ...

    def after(self, cursor: Cursor | None, *, now: datetime, limit: int) -> tuple[list[Revocation], Cursor | None]:
        """Return the unexpired entries behind a cursor, in order, and the cursor behind the last one.

        Raises:
            UnknownCursor: its entry is not there, or is another one.

        """
        ...

    def revokes(self, *, token_id: str, subject: str, issued_at: datetime, now: datetime) -> bool:
        """Whether a current entry revokes a token: by its id, or by its subject if it was issued before ``not_before``.

        A verifier decides in the same way about the entries of the feed. For a token with a session, the session
        itself is checked instead.
        """
        ...

    def purge(self, *, now: datetime, limit: int) -> int:
        """Delete up to ``limit`` expired entries; return their number."""
        ...


def hash_of(value: str) -> str:
    """Return the hash of a value, as in the feed."""
    return base64.urlsafe_b64encode(hashlib.sha256(value.encode()).digest()).rstrip(b"=").decode()
