"""The composition root: the only place that chooses implementations."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from core.accounts import Accounts
from core.allowance import Allowance
from core.auth import Authentication
from core.background import STOP_SECONDS
from core.clients import ClientService
from core.clock import Clock, SystemClock
from core.confirmation import Confirmation
from core.correspondence import Correspondence
from core.counters import rules
from core.email_tokens import EmailTokenMaker
from core.errors import Stopping
from core.housekeeping import Housekeeper
from core.introspection import TokenInspector
from core.key_material import Seal
from core.key_ring import KeyRing
from core.letters import LetterWriter
from core.mailer import LocalMailbox, Mailer, SmtpMailer, SmtpServer
from core.password_policy import PasswordPolicy
from core.passwords import PasswordHasher
from core.recovery import Recovery
from core.refresh_tokens import RefreshTokens
from core.refusals import RefusalLog
from core.relay import Relay, RelaySettings
from core.repositories.unit_of_work import open_store
from core.revocations import RevocationFeed
from core.secret import derive_keys
from core.sessions import SessionService
from core.settings import Settings
from core.store import Store
from core.tally import Tally
from core.texts import Texts
from core.throttle import Throttle
from core.token_endpoint import TokenEndpoint
from core.tokens import AccessTokens
from core.verification import Verification

CLOSE_SECONDS = 2 * STOP_SECONDS  # at most: the relay, and then the housekeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthApp:
    """The service as the front doors hold it: a frozen bundle, one a process."""

    settings: Settings
    store: Store
    keys: KeyRing
    password_policy: PasswordPolicy
    accounts: Accounts
    recovery: Recovery
    verification: Verification
    authentication: Authentication
    token_endpoint: TokenEndpoint
    sessions: SessionService
    clients: ClientService
    tokens: TokenInspector
    revocations: RevocationFeed
    relay: Relay
    housekeeper: Housekeeper
    texts: Texts
    stopping: threading.Event
    """Set when the process was told to stop: it still answers, but says that it is not ready."""

    def check_ready(self) -> None:
        """Ask whether requests should be sent here.

        Raises:
            Stopping: the process was told to stop.
            NotReady: the database has an older schema, or none.
            DatabaseUnavailable: the database cannot be reached.

        """
        if self.stopping.is_set():
            raise Stopping
        self.store.check()

    def start(self) -> None:
        """Read what requests should not wait for, and begin the work that a serving process does besides them."""
        self.password_policy.load()
        self.housekeeper.start()
        if self.settings.mail.relay:
            self.relay.start()

    def close(self) -> None:
        """End that work, which takes up to `CLOSE_SECONDS`, and give back every connection."""
        self.stopping.set()
        self.relay.stop()
        self.housekeeper.stop()
        self.store.close()


def build(
    settings: Settings, *, store: Store | None = None, clock: Clock | None = None, mailer: Mailer | None = None
) -> AuthApp:
    """Wire the service. A test or an embedding application may bring its own store, clock and mailer.

    What happens by itself happens from `AuthApp.start` on: until then no signing key is followed by the next one,
    nothing that is over is deleted, and no mail leaves.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    clock = clock or SystemClock()
    stopping = threading.Event()
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
    policy = PasswordPolicy(min_length=settings.passwords.min_length)
    refresh_tokens = RefreshTokens(derive_keys(settings.secrets, "refresh tokens"))
    sessions = SessionService(
        store=store,
        clock=clock,
        settings=settings.tokens,
        access_tokens=access_tokens,
        refresh_tokens=refresh_tokens,
    )
    throttle = Throttle(store=store, clock=clock, tally=_build_tally(settings), is_on=settings.throttling.throttle)
    clients = build_clients(settings, store=store, clock=clock)
    confirmation = Confirmation(store=store, clock=clock, passwords=passwords, throttle=throttle)
    authentication = Authentication(
        store=store,
        clock=clock,
        passwords=passwords,
        sessions=sessions,
        access_tokens=access_tokens,
        throttle=throttle,
        verified_only=settings.mail.require_verified_email,
    )
    texts = Texts(settings.mail.texts_dir, language=settings.mail.mail_language)
    return AuthApp(
        settings=settings,
        store=store,
        keys=keys,
        password_policy=policy,
        accounts=Accounts(
            store=store,
            clock=clock,
            passwords=passwords,
            throttle=throttle,
            confirmation=confirmation,
            policy=policy,
            verified_only=settings.mail.require_verified_email,
        ),
        recovery=Recovery(
            store=store,
            clock=clock,
            passwords=passwords,
            throttle=throttle,
            policy=policy,
        ),
        verification=Verification(store=store, clock=clock, confirmation=confirmation, throttle=throttle),
        authentication=authentication,
        token_endpoint=TokenEndpoint(
            clock=clock,
            authentication=authentication,
            sessions=sessions,
            clients=clients,
            access_tokens=access_tokens,
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
        revocations=RevocationFeed(store=store, clock=clock, ring=keys, issuer=settings.public_url, stopping=stopping),
        relay=build_relay(settings, store=store, clock=clock, mailer=mailer, texts=texts),
        housekeeper=Housekeeper(store=store, clock=clock, ring=keys, settings=settings),
        texts=texts,
        stopping=stopping,
    )


def build_relay(
    settings: Settings,
    *,
    store: Store,
    clock: Clock | None = None,
    mailer: Mailer | None = None,
    texts: Texts | None = None,
) -> Relay:
    """Wire the relay alone, for a process that does nothing else.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    clock = clock or SystemClock()
    texts = texts or Texts(settings.mail.texts_dir, language=settings.mail.mail_language)
    return Relay(
        store=store,
        clock=clock,
        correspondence=build_correspondence(settings, store=store, clock=clock),
        writer=LetterWriter(texts, settings),
        mailer=mailer or build_mailer(settings),
        settings=RelaySettings.of(settings.mail),
    )


def build_correspondence(settings: Settings, *, store: Store, clock: Clock) -> Correspondence:
    """Wire what makes letters of messages."""
    allowance_key = derive_keys(settings.secrets, "letters to addresses")[0]
    return Correspondence(
        store=store,
        clock=clock,
        tokens=EmailTokenMaker(derive_keys(settings.secrets, "tokens in links")),
        allowance=Allowance(key=allowance_key, limit=settings.mail.mail_limit),
        settings=settings.mail,
    )


def build_mailer(settings: Settings) -> Mailer:
    """The way that mail leaves: an SMTP server, or where development has none, a folder."""
    if settings.mail.smtp_url is None:
        return LocalMailbox(settings.mailbox_dir)
    timeout = settings.mail.smtp_timeout.total_seconds()
    return SmtpMailer(SmtpServer.parse(settings.mail.smtp_url, timeout=timeout, name=settings.public_host))


def build_clients(settings: Settings, *, store: Store, clock: Clock | None = None) -> ClientService:
    """Wire the registered clients alone, for the command line."""
    clock = clock or SystemClock()
    refusals = RefusalLog(store=store, clock=clock, tally=_build_tally(settings))
    return ClientService(store=store, clock=clock, refusals=refusals)


def _build_tally(settings: Settings) -> Tally:
    return Tally(key=derive_keys(settings.secrets, "throttle")[0], rules=rules(settings.throttling))


def build_key_ring(settings: Settings, *, store: Store, clock: Clock | None = None) -> KeyRing:
    """Wire the key ring alone, for the command line."""
    return KeyRing(
        store=store,
        clock=clock or SystemClock(),
        seal=Seal(derive_keys(settings.secrets, "signing keys")),
        settings=settings.tokens,
    )
