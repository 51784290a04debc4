"""The composition root: the only place that chooses implementations."""

from __future__ import annotations

from dataclasses import dataclass

from core.accounts import Accounts
from core.auth import Authentication
from core.clients import ClientService
from core.clock import Clock, SystemClock
from core.introspection import TokenInspector
from core.keys import KeyRing, Seal
from core.passwords import PasswordHasher
from core.refresh_tokens import RefreshTokens
from core.repositories.unit_of_work import open_store
from core.revocations import RevocationFeed
from core.secret import derive_keys
from core.sessions import SessionService
from core.settings import Settings
from core.store import Store
from core.tokens import AccessTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthApp:
    """The service as the front doors hold it: a frozen bundle, one a process."""

    settings: Settings
    store: Store
    keys: KeyRing
    accounts: Accounts
    auth: Authentication
    sessions: SessionService
    clients: ClientService
    tokens: TokenInspector
    revocations: RevocationFeed

    def close(self) -> None:
        """Give back every connection."""
        self.store.close()


def build(settings: Settings, *, store: Store | None = None, clock: Clock | None = None) -> AuthApp:
    """Wire the service. A test or an embedding application may bring its own store and clock."""
    clock = clock or SystemClock()
    store = store or open_store(settings.database_url, settings.database)
    keys = build_key_ring(settings, store=store, clock=clock)
    access_tokens = AccessTokens(
        ring=keys,
        clock=clock,
        issuer=settings.public_url,
        audience=settings.audience,
        client_id=settings.tokens.client_id,
        lifetime=settings.tokens.access_ttl,
    )
    passwords = PasswordHasher(settings.passwords)
    refresh_tokens = RefreshTokens(derive_keys(settings.secrets, "refresh tokens"))
    clients = ClientService(store=store, clock=clock)
    sessions = SessionService(
        store=store,
        clock=clock,
        settings=settings.tokens,
        access_tokens=access_tokens,
        refresh_tokens=refresh_tokens,
    )
    return AuthApp(
        settings=settings,
        store=store,
        keys=keys,
        accounts=Accounts(store=store, clock=clock, passwords=passwords, min_length=settings.passwords.min_length),
        auth=Authentication(
            store=store,
            clock=clock,
            passwords=passwords,
            sessions=sessions,
            access_tokens=access_tokens,
            clients=clients,
        ),
        sessions=sessions,
        clients=clients,
        tokens=TokenInspector(
            store=store,
            clock=clock,
            settings=settings.tokens,
            clients=clients,
            sessions=sessions,
            access_tokens=access_tokens,
            refresh_tokens=refresh_tokens,
        ),
        revocations=RevocationFeed(store=store, clock=clock, ring=keys, issuer=settings.public_url),
    )


def build_key_ring(settings: Settings, *, store: Store, clock: Clock | None = None) -> KeyRing:
    """Wire the key ring alone, for the command line."""
    return KeyRing(
        store=store,
        clock=clock or SystemClock(),
        seal=Seal(derive_keys(settings.secrets, "signing keys")),
        settings=settings.tokens,
    )
