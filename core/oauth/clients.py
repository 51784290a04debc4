"""Registered clients: service accounts with an id, a secret and scopes."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

from core.audit.model import EventKind, event
from core.clock import Clock, elapsed, new_id, next_second
from core.errors import FieldError, InvalidInput, NotFound
from core.oauth.errors import InvalidClient
from core.oauth.model import (
    _ID,
    ID_PREFIX,
    ClientSecret,
    Credentials,
    RegisteredClient,
    digest_of,
    is_well_formed,
    new_secret,
)
from core.origin import LOCAL_ORIGIN, Origin
from core.settings.groups import TokenSettings
from core.storage.retries import retried
from core.store import Store
from core.throttling.rejection_log import RejectionLog
from core.tokens.access import parse_scopes
from core.tokens.model import RevocationKind
from core.tokens.revocation_feed import revoke

MAX_NAME = 100
# The resolution of `last_used_at`: a write for every token request would cost too much for a value for people.
USE_RESOLUTION = timedelta(minutes=1)


class ClientService:
    """Registers and authenticates clients."""

    def __init__(self, *, store: Store, clock: Clock, refusals: RejectionLog, settings: TokenSettings) -> None:
        self._store = store
        self._clock = clock
        self._refusals = refusals
        self._settings = settings

    @retried
    def create(
        self, name: str, scopes: tuple[str, ...], audiences: tuple[str, ...] = ()
    ) -> tuple[RegisteredClient, str]:
        """Register a client; return it with its secret, which is not stored.

        Raises:
            InvalidInput: the name is empty or too long, or an audience is none of the service's.
            ScopeNotGranted: a scope is malformed.

        """
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidInput(FieldError(field="name", code="invalid", message="A name has 1 to 100 characters."))
        if not set(audiences) <= set(self._settings.audiences):
            known = ", ".join(self._settings.audiences)
            raise InvalidInput(FieldError(field="audiences", code="invalid", message=f"The audiences are {known}."))
        now = self._clock.now()
        client = RegisteredClient(
            id=ID_PREFIX + new_id(now).hex,
            name=name,
            scopes=parse_scopes(" ".join(scopes)),
            is_active=True,
            created_at=now,
            last_used_at=None,
            audiences=tuple(dict.fromkeys(audiences)),
        )
        secret = new_secret()
        with self._store.begin() as work:
            work.clients.add(client)
            work.clients.add_secret(_stored(client.id, secret, now))
            work.audit.add(event(EventKind.CLIENT_CREATED, at=now, origin=LOCAL_ORIGIN, subject=client.id))
            work.commit()
        return client, secret

    @retried
    def all(self) -> list[RegisteredClient]:
        """Return every client, oldest first."""
        with self._store.reading() as read:
            return read.clients.all()

    @retried
    def set_active(self, client_id: str, *, is_active: bool) -> None:
        """Enable or disable a client. Tokens from before it was disabled stay revoked when it is enabled again.

        Raises:
            NotFound: there is no client with this id.

        """
        now = self._clock.now()
        with self._store.begin() as work:
            client = work.clients.by_id(client_id)
            if client is None:
                raise NotFound
            if client.is_active == is_active:
                return
            work.clients.set_active(client_id, is_active=is_active)
            if not is_active:
                revoke(work, RevocationKind.SUBJECT, [client_id], at=now, not_before=next_second(now))
            kind = EventKind.CLIENT_ENABLED if is_active else EventKind.CLIENT_DISABLED
            work.audit.add(event(kind, at=now, origin=LOCAL_ORIGIN, subject=client_id))
            work.commit()

    @retried
    def rotate_secret(self, client_id: str, *, overlap: timedelta) -> str:
        """Make a new secret; earlier ones stay valid for ``overlap``.

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
            work.audit.add(event(EventKind.CLIENT_SECRET_ROTATED, at=now, origin=LOCAL_ORIGIN, subject=client_id))
            work.commit()
        return secret

    def identify(self, credentials: Credentials | None, origin: Origin) -> RegisteredClient | None:
        """Return the client of a request, or None for the first party.

        The first party is public (RFC 6749 section 2.1): it has no secret, and may leave out its id.

        Raises:
            InvalidClient: a client failed to authenticate, or is unknown.

        """
        if credentials is None or credentials == Credentials(client_id=self._settings.client_id, secret=""):
            return None
        return self.authenticate(credentials, origin)

    def authenticate(self, credentials: Credentials | None, origin: Origin) -> RegisteredClient:
        """Return the active client with these credentials.

        Raises:
            InvalidClient: there are none, or they are wrong; the same for every reason.

        """
        if credentials is None:
            raise InvalidClient
        client_id = credentials.client_id
        is_possible = _ID.fullmatch(client_id) and is_well_formed(credentials.secret)
        found = self._client_with(client_id, digest_of(credentials.secret)) if is_possible else None
        if found is None or not found.is_active:
            self._record_refusal(client_id, origin)
            raise InvalidClient
        self._record_use(found)
        return found

    def _record_refusal(self, client_id: str, origin: Origin) -> None:
        # A text of another form is not logged: it may be a secret, sent in place of the id.
        subject = client_id if _ID.fullmatch(client_id) else None
        self._refusals.record(EventKind.CLIENT_REFUSED, origin, subject=subject)

    @retried
    def _client_with(self, client_id: str, digest: bytes) -> RegisteredClient | None:
        with self._store.reading() as read:
            stored = read.clients.secrets_of(client_id, now=self._clock.now())
            matches = [hmac.compare_digest(secret.digest, digest) for secret in stored]
            return read.clients.by_id(client_id) if any(matches) else None

    @retried
    def _record_use(self, client: RegisteredClient) -> None:
        now = self._clock.now()
        if client.last_used_at is not None and elapsed(client.last_used_at, now) < USE_RESOLUTION:
            return
        with self._store.begin() as work:
            work.clients.touch(client.id, at=now)
            work.commit()


def _stored(client_id: str, secret: str, now: datetime) -> ClientSecret:
    return ClientSecret(client_id=client_id, digest=digest_of(secret), created_at=now, expires_at=None)
