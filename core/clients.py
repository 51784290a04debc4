"""Registered clients: service accounts with an id, a secret and scopes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from core.audit import LOCAL, Client, EventKind, event
from core.clock import Clock, new_id
from core.errors import FieldError, InvalidClient, InvalidInput, InvalidScope, NotFound
from core.retries import retried
from core.revocations import RevocationKind, revoke

if TYPE_CHECKING:
    from core.refusals import RefusalLog
    from core.store import Store

ID_PREFIX = "twc_"
SECRET_PREFIX = "tws_"  # noqa: S105 - what scanners for leaked secrets look for
SECRET_BYTES = 32
MAX_NAME = 100
# `last_used_at` is for people; a write for every token request is not.
USE_RESOLUTION = timedelta(minutes=1)

_SCOPE = re.compile(r"[!#-\[\]-~]{1,64}")  # scope-token of RFC 6749 section 3.3
_ID = re.compile(rf"{ID_PREFIX}[0-9a-f]{{32}}")
_SECRET = re.compile(rf"({SECRET_PREFIX}[A-Za-z0-9_-]{{43}})([0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Client id and secret, as HTTP Basic carries them."""

    client_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredClient:
    """A service account."""

    id: str
    name: str
    scopes: tuple[str, ...]
    is_active: bool
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecret:
    """A secret as it is stored: its SHA-256. It has 256 random bits, which no dearer hash could protect better."""

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
        """Every client, oldest first."""
        ...

    def by_id(self, client_id: str) -> RegisteredClient | None:
        """The client with this id."""
        ...

    def set_active(self, client_id: str, *, is_active: bool) -> bool:
        """Enable or disable a client; False where there is none."""
        ...

    def touch(self, client_id: str, *, at: datetime) -> None:
        """Note that it was used."""
        ...

    def add_secret(self, secret: ClientSecret) -> None:
        """Store a new secret."""
        ...

    def secrets_of(self, client_id: str, *, now: datetime) -> list[ClientSecret]:
        """The secrets of a client that have not expired."""
        ...

    def expire_secrets(self, client_id: str, *, at: datetime) -> None:
        """Let every secret end at ``at``, or where it ends before, there."""
        ...


def new_secret() -> str:
    """Make a secret: 256 random bits behind a prefix, with a checksum that tells typing errors from wrong secrets."""
    body = SECRET_PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    return body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether a text has the form and the checksum of a secret; if not, no database need be asked."""
    match = _SECRET.fullmatch(secret)
    return match is not None and hmac.compare_digest(match[2], _checksum(match[1]))


def digest_of(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def parse_scopes(text: str) -> tuple[str, ...]:
    """Read a list of scopes separated by spaces (RFC 6749 section 3.3), each once.

    Raises:
        InvalidScope: one of them is malformed.

    """
    scopes = tuple(dict.fromkeys(text.split(" "))) if text else ()
    if not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise InvalidScope
    return scopes


class ClientService:
    """Registers clients and checks who they are."""

    def __init__(self, *, store: Store, clock: Clock, refusals: RefusalLog) -> None:
        self._store = store
        self._clock = clock
        self._refusals = refusals

    @retried
    def create(self, name: str, scopes: tuple[str, ...]) -> tuple[RegisteredClient, str]:
        """Register a client and give it with its secret, which is shown this once.

        Raises:
            InvalidInput: the name is empty or too long.
            InvalidScope: a scope is malformed.

        """
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidInput(FieldError(field="name", code="invalid", message="A name has 1 to 100 characters."))
        now = self._clock.now()
        client = RegisteredClient(
            id=ID_PREFIX + new_id(now).hex,
            name=name,
            scopes=parse_scopes(" ".join(scopes)),
            is_active=True,
            created_at=now,
            last_used_at=None,
        )
        secret = new_secret()
        with self._store.begin() as work:
            work.clients.add(client)
            work.clients.add_secret(_stored(client.id, secret, now))
            work.audit.add(event(EventKind.CLIENT_CREATED, at=now, client=LOCAL, subject=client.id))
            work.commit()
        return client, secret

    @retried
    def all(self) -> list[RegisteredClient]:
        """Every client, oldest first."""
        with self._store.reading() as read:
            return read.clients.all()

    @retried
    def set_active(self, client_id: str, *, is_active: bool) -> None:
        """Enable or disable a client. The tokens of one that was disabled stay dead when it is enabled again.

        Raises:
            NotFound: there is none with this id.

        """
        now = self._clock.now()
        with self._store.begin() as work:
            if not work.clients.set_active(client_id, is_active=is_active):
                raise NotFound
            if not is_active:
                # Of the tokens of this second, none says whether it was issued before or after now.
                not_before = now.replace(microsecond=0) + timedelta(seconds=1)
                revoke(work, RevocationKind.SUBJECT, [client_id], at=now, not_before=not_before)
            kind = EventKind.CLIENT_ENABLED if is_active else EventKind.CLIENT_DISABLED
            work.audit.add(event(kind, at=now, client=LOCAL, subject=client_id))
            work.commit()

    @retried
    def rotate_secret(self, client_id: str, *, overlap: timedelta) -> str:
        """Give a new secret; those before it work for ``overlap`` longer.

        Raises:
            NotFound: there is no client with this id.

        """
        now = self._clock.now()
        secret = new_secret()
        with self._store.begin() as work:
            if work.clients.by_id(client_id) is None:
                raise NotFound
            work.clients.expire_secrets(client_id, at=now + overlap)
            work.clients.add_secret(_stored(client_id, secret, now))
            work.audit.add(event(EventKind.CLIENT_SECRET_ROTATED, at=now, client=LOCAL, subject=client_id))
            work.commit()
        return secret

    def authenticate(self, credentials: Credentials, client: Client) -> RegisteredClient:
        """The active client that these credentials belong to.

        Raises:
            InvalidClient: for every reason alike.

        """
        client_id = credentials.client_id
        is_possible = _ID.fullmatch(client_id) and is_well_formed(credentials.secret)
        found = self._client_with(client_id, digest_of(credentials.secret)) if is_possible else None
        if found is None or not found.is_active:
            self._record_refusal(client_id, client)
            raise InvalidClient
        self._note_use(found)
        return found

    def _record_refusal(self, client_id: str, client: Client) -> None:
        # What has another form may be a secret that was sent in place of the id.
        subject = client_id if _ID.fullmatch(client_id) else None
        self._refusals.record(EventKind.CLIENT_REFUSED, client, subject=subject)

    @retried
    def _client_with(self, client_id: str, digest: bytes) -> RegisteredClient | None:
        with self._store.reading() as read:
            stored = read.clients.secrets_of(client_id, now=self._clock.now())
            matches = [hmac.compare_digest(secret.digest, digest) for secret in stored]
            return read.clients.by_id(client_id) if any(matches) else None

    @retried
    def _note_use(self, client: RegisteredClient) -> None:
        now = self._clock.now()
        if client.last_used_at is not None and now - client.last_used_at < USE_RESOLUTION:
            return
        with self._store.begin() as work:
            work.clients.touch(client.id, at=now)
            work.commit()


def _stored(client_id: str, secret: str, now: datetime) -> ClientSecret:
    return ClientSecret(client_id=client_id, digest=digest_of(secret), created_at=now, expires_at=None)
