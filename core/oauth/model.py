"""Registered clients, their secrets and scopes, and the requests and grants of the token endpoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from core.tokens.access import WHATEVER_THERE_IS, AccessRequest

ID_PREFIX = "twc_"
SECRET_PREFIX = "tws_"  # noqa: S105 - for scanners that find leaked secrets
SECRET_BYTES = 32

_ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{32}}")
_SECRET = re.compile(rf"({SECRET_PREFIX}[A-Za-z0-9_-]{{43}})([0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Client id and secret of a request; a public client has an empty secret."""

    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """An access token in the place of client credentials (RFC 7662 section 2.1)."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredClient:
    """A service account."""

    id: str
    name: str
    scopes: tuple[str, ...]
    is_active: bool
    created_at: datetime
    last_used_at: datetime | None
    audiences: tuple[str, ...] = ()
    """Those that it may ask for, the first by default; none for all of the service's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """A secret as it is stored: its SHA-256. It has 256 random bits, so a slower hash would not protect it better."""

    client_id: str
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None


class Clients(Protocol):
    """Port: the registered clients inside one unit of work."""

    def add(self, client: RegisteredClient) -> None:
        """Store a new client."""
        ...

    def all(self) -> list[RegisteredClient]:
        """Return every client, oldest first."""
        ...

    def by_id(self, client_id: str) -> RegisteredClient | None:
        """Return the client with this id."""
        ...

    def set_active(self, client_id: str, *, is_active: bool) -> bool:
        """Enable or disable a client; False if there is none."""
        ...

    def touch(self, client_id: str, *, at: datetime) -> None:
        """Record that a client authenticated."""
        ...

    def add_secret(self, secret: ClientSecret) -> None:
        """Store a new secret."""
        ...

    def secrets_of(self, client_id: str, *, now: datetime) -> list[ClientSecret]:
        """Return the secrets of a client that have not expired."""
        ...

    def expire_secrets(self, client_id: str, *, at: datetime) -> None:
        """Let every secret expire at ``at``, or at its own earlier time."""
        ...


def new_secret() -> str:
    """Make a secret: a prefix, 256 random bits, and a checksum that detects typing errors."""
    body = SECRET_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether a text has the form and the checksum of a secret, so that junk needs no database query."""
    match = _SECRET.fullmatch(secret)
    return match is not None and hmac.compare_digest(match[2], _checksum(match[1]))


def digest_of(secret: str) -> bytes:
    """Return the stored form of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A request to the token endpoint (RFC 6749 section 3.2). A parameter without a value is None."""

    grant_type: str | None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    asked: AccessRequest = WHATEVER_THERE_IS
    device_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The tokens of an answer (RFC 6749 section 5.1). ``expires_in`` is in seconds."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(default=None, repr=False)
    scope: str | None = None
    device_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveToken:
    """The content of an active token."""

    subject: str
    client_id: str
    username: str | None
    session_id: str | None
    token_id: str
    audience: str
    scope: str | None
    roles: tuple[str, ...]
    auth_time: datetime | None
    issued_at: datetime
    expires_at: datetime
