"""The composition root: the only place that chooses implementations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from core.accounts.email_verification import EmailVerification
from core.accounts.export import Exporter
from core.accounts.password_reset import PasswordReset
from core.accounts.service import Accounts
from core.authentication.login import Authentication
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import PasswordPolicy
from core.authentication.reauthentication import Reauthentication
from core.background import STOP_SECONDS
from core.capabilities import CAPABILITIES, contract_of, ports_of
from core.capability import Capability
from core.clock import Clock, SystemClock
from core.contract.contract import Contract
from core.derived_keys import derive_keys
from core.errors import Stopping
from core.housekeeping import Housekeeper
from core.mail.composer import Composer
from core.mail.one_time_tokens import OneTimeTokenMaker
from core.mail.recipient_limit import RecipientLimit
from core.mail.rendering import EmailRenderer
from core.mail.texts.editions import Texts
from core.mail.transports import LocalMailbox, Mailer, SmtpMailer, SmtpServer
from core.mail.worker import MailWorker, MailWorkerSettings
from core.oauth.clients import ClientService
from core.oauth.introspection import TokenInspector
from core.oauth.token_endpoint import TokenEndpoint
from core.sessions.refresh_tokens import RefreshTokens
from core.sessions.service import SessionService
from core.settings.whole import Settings
from core.sql_store import open_store
from core.store import Store
from core.throttling.counters import CounterStore
from core.throttling.model import rules
from core.throttling.rejection_log import RejectionLog
from core.throttling.throttle import NoThrottle, Throttle
from core.tokens.access_tokens import AccessTokens
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.tokens.revocation_feed import RevocationFeed

CLOSE_SECONDS = 2 * STOP_SECONDS  # at most: the relay, and then the housekeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthApp:
    """The service as the front doors hold it: a frozen bundle, one a process."""

    settings: Settings
    contract: Contract
    store: Store
    keys: KeyRing
    password_policy: PasswordPolicy
    accounts: Accounts
    exporter: Exporter
    password_reset: PasswordReset
    email_verification: EmailVerification
    authentication: Authentication
    token_endpoint: TokenEndpoint
    sessions: SessionService
    clients: ClientService
    tokens: TokenInspector
    revocations: RevocationFeed
    mail_worker: MailWorker
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
            self.mail_worker.start()

    def close(self) -> None:
        """End that work, which takes up to `CLOSE_SECONDS`, and give back every connection."""
        self.stopping.set()
        self.mail_worker.stop()
        self.housekeeper.stop()
        self.store.close()


def build(
    settings: Settings,
    *,
    store: Store | None = None,
    clock: Clock | None = None,
    mailer: Mailer | None = None,
    further: Sequence[Capability] = (),
) -> AuthApp:
    """Wire the service. An embedding application may bring its own store, clock, mailer and further capabilities.

    A store that it brings was opened with the ports of those capabilities.

    What happens by itself happens from `AuthApp.start` on: until then no signing key is followed by the next one,
    nothing that is over is deleted, and no mail leaves.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    clock = clock or SystemClock()
    stopping = threading.Event()
    capabilities = (*CAPABILITIES, *further)
    store = store or open_store(settings.database.url.get_secret_value(), settings.database, ports_of(further))
    keys = build_key_ring(settings, store=store, clock=clock)
    access_tokens = AccessTokens(
        ring=keys,
        clock=clock,
        issuer=settings.http.public_url,
        audience=settings.tokens.audience,
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
    throttle = build_throttle(settings, store=store, clock=clock)
    clients = build_clients(settings, store=store, clock=clock)
    reauthentication = Reauthentication(store=store, clock=clock, passwords=passwords, throttle=throttle)
    authentication = Authentication(
        store=store,
        clock=clock,
        passwords=passwords,
        sessions=sessions,
        throttle=throttle,
        settings=settings.mail,
    )
    texts = open_texts(settings, further)
    renderer = build_renderer(settings, texts, further)
    mail_worker = build_mail_worker(settings, store=store, clock=clock, mailer=mailer, renderer=renderer)
    store.on_message(mail_worker.wake)
    return AuthApp(
        settings=settings,
        contract=contract_of(capabilities),
        store=store,
        keys=keys,
        password_policy=policy,
        accounts=Accounts(
            store=store,
            clock=clock,
            passwords=passwords,
            throttle=throttle,
            reauthentication=reauthentication,
            policy=policy,
            settings=settings.mail,
        ),
        exporter=Exporter(
            store=store,
            clock=clock,
            parts={member: part for one in capabilities for member, part in one.export.items()},
        ),
        password_reset=PasswordReset(
            store=store,
            clock=clock,
            passwords=passwords,
            throttle=throttle,
            policy=policy,
        ),
        email_verification=EmailVerification(
            store=store, clock=clock, reauthentication=reauthentication, throttle=throttle
        ),
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
        revocations=RevocationFeed(
            store=store, clock=clock, ring=keys, issuer=settings.http.public_url, stopping=stopping
        ),
        mail_worker=mail_worker,
        housekeeper=Housekeeper(
            store=store,
            clock=clock,
            ring=keys,
            settings=settings,
            purges={table: purge for one in capabilities for table, purge in one.purges.items()},
        ),
        texts=texts,
        stopping=stopping,
    )


def build_mail_worker(
    settings: Settings,
    *,
    store: Store,
    clock: Clock | None = None,
    mailer: Mailer | None = None,
    renderer: EmailRenderer | None = None,
) -> MailWorker:
    """Wire what sends mail alone, for a process that does nothing else.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    clock = clock or SystemClock()
    return MailWorker(
        store=store,
        clock=clock,
        composer=build_composer(settings, store=store, clock=clock),
        renderer=renderer or build_renderer(settings, open_texts(settings)),
        mailer=mailer or build_mailer(settings),
        settings=MailWorkerSettings.of(settings.mail),
    )


def open_texts(settings: Settings, further: Sequence[Capability] = ()) -> Texts:
    """The texts that people read: the operator's, those of further capabilities, and ours.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    folders = [one.texts for one in further if one.texts is not None]
    return Texts(settings.mail.texts_dir, language=settings.mail.mail_language, further=folders)


def build_renderer(settings: Settings, texts: Texts, further: Sequence[Capability] = ()) -> EmailRenderer:
    """Wire what makes e-mails of letters.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    kinds = [kind for one in (*CAPABILITIES, *further) for kind in one.letters]
    return EmailRenderer(texts, settings, kinds=kinds)


def build_composer(settings: Settings, *, store: Store, clock: Clock) -> Composer:
    """Wire what makes letters of messages."""
    allowance_key = derive_keys(settings.secrets, "letters to addresses")[0]
    return Composer(
        store=store,
        clock=clock,
        tokens=OneTimeTokenMaker(derive_keys(settings.secrets, "tokens in links")),
        recipient_limit=RecipientLimit(key=allowance_key, limit=settings.mail.mail_limit),
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
    refusals = RejectionLog(store=store, clock=clock, counters=_build_counter_store(settings))
    return ClientService(store=store, clock=clock, refusals=refusals)


def build_throttle(settings: Settings, *, store: Store, clock: Clock) -> Throttle:
    """Wire the throttle, or what stands in its place where it is switched off."""
    kind = Throttle if settings.throttling.throttle else NoThrottle
    return kind(store=store, clock=clock, counters=_build_counter_store(settings))


def _build_counter_store(settings: Settings) -> CounterStore:
    return CounterStore(key=derive_keys(settings.secrets, "throttle")[0], rules=rules(settings.throttling))


def build_key_ring(settings: Settings, *, store: Store, clock: Clock | None = None) -> KeyRing:
    """Wire the key ring alone, for the command line."""
    return KeyRing(
        store=store,
        clock=clock or SystemClock(),
        seal=Seal(derive_keys(settings.secrets, "signing keys")),
        settings=settings.tokens,
    )
