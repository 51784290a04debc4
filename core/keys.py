"""Signing keys: the values of the ring, and the decisions on their life, from publication to retirement."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from core.settings import MAX_ACCESS_TTL, Algorithm, TokenSettings

# A key outlives the last token it can have signed by this much, for verifiers whose clocks are late.
SKEW = timedelta(minutes=5)


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


def published(keys: list[SigningKey], now: datetime) -> list[SigningKey]:
    """The keys that verifiers are told of: those that sign, will sign, or have signed a token that may live."""
    gone = {key.kid for key in retired(keys, now)}
    return [key for key in keys if key.kid not in gone]


def is_due(keys: list[SigningKey], now: datetime, settings: TokenSettings) -> bool:
    """Whether a successor of the newest key must be published now. The first key of a ring succeeds nobody."""
    return bool(keys) and now >= keys[-1].activates_at + settings.key_lifetime - settings.key_propagation
