"""The composition root: the only place that chooses implementations."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog
from pydantic import SecretStr

from core.accounts.deletion import Eraser
from core.accounts.email_change_undo import EmailChangeUndo
from core.accounts.email_verification import EmailVerification
from core.accounts.export import Exporter
from core.accounts.export_schemas import ExportHead
from core.accounts.password_reset import PasswordReset
from core.accounts.service import Accounts
from core.authentication.attempts import PasswordAttempts
from core.authentication.login import Authentication
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import PasswordPolicy
from core.authentication.reauthentication import Reauthentication
from core.background import STOP_SECONDS
from core.capabilities import CAPABILITIES, contract_of, ports_of
from core.capability import Capability
from core.clock import Clock, SystemClock
from core.contract.contract import Contract
from core.derived_keys import KeyPurpose, derive_keys
from core.devices.device_tokens import DeviceTokens
from core.devices.service import DeviceService
from core.errors import DatabaseUnavailable, NotReady, Stopping
from core.housekeeping import Housekeeper
from core.mail.composer import Composer
from core.mail.one_time_tokens import OneTimeTokenMaker
from core.mail.recipient_limit import RecipientLimit
from core.mail.rendering import EmailRenderer
from core.mail.texts.editions import Texts
from core.mail.transports import LocalMailbox, Mailer, SmtpMailer, SmtpServer
from core.mail.worker import MailWorker
from core.oauth.clients import ClientService
from core.oauth.introspection import TokenInspector
from core.oauth.token_endpoint import TokenEndpoint
from core.sessions.refresh_tokens import RefreshTokens
from core.sessions.secret_replacement import SecretReplacement
from core.sessions.service import SessionService
from core.settings.whole import Settings
from core.sql_store import open_store
from core.storage.reasons import reason_of
from core.storage.urls import place_of
from core.store import Store
from core.throttling.counters import CounterStore
from core.throttling.model import rules
from core.throttling.rejection_log import RejectionLog
from core.throttling.throttle import NoThrottle, Throttle
from core.tokens.access_tokens import AccessTokens
from core.tokens.errors import KeysLocked, SecretMissingError
from core.tokens.key_material import Seal
from core.tokens.key_ring import KeyRing
from core.tokens.revocation_feed import RevocationFeed

log = structlog.get_logger("readiness")

CLOSE_SECONDS = 2 * STOP_SECONDS  # at most: first the mail worker, then the housekeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthApp:
    """The service as the front doors see it: one for each process."""

    settings: Settings
    contract: Contract
    store: Store
    keys: KeyRing
    password_policy: PasswordPolicy
    accounts: Accounts
    exporter: Exporter
    password_reset: PasswordReset
    email_verification: EmailVerification
    email_change_undo: EmailChangeUndo
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
    """Set when the process has to stop: it still answers requests, but is not ready for new ones."""

    def check_ready(self) -> None:
        """Check whether requests should be sent to this process.

        Raises:
            Stopping: the process has to stop.
            NotReady: the database has an older schema, or none.
            DatabaseUnavailable: the database cannot be reached.
            KeysLocked: no signing key can be opened.

        """
        if self.stopping.is_set():
            raise Stopping
        try:
            self.store.check()
        except (NotReady, DatabaseUnavailable) as error:
            place = place_of(self.settings.database.url.get_secret_value())
            log.warning("not_ready", database=place, reason=reason_of(error))
            raise
        if self.keys.is_locked:
            log.warning("not_ready", reason="AUTH_SECRET_KEY opens no signing key")
            raise KeysLocked

    def start(self) -> None:
        """Start the background work."""
        self.housekeeper.start()
        if self.settings.mail.relay:
            self.mail_worker.start()

    def close(self) -> None:
        """Stop the background work, which takes up to `CLOSE_SECONDS`, and close every connection."""
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

    Its own store must have been opened with the ports of those capabilities.

    Background work begins with `AuthApp.start`: before it no signing key follows the last one, no old row is deleted,
    and no mail is sent.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    clock = clock or SystemClock()
    store = store or open_store(settings.database.url.get_secret_value(), settings.database, ports_of(further))
    wiring = _Wiring(settings, store=store, clock=clock, mailer=mailer, further=further)
    store.on_message(wiring.mail_worker.wake)
    store.on_leftovers(wiring.housekeeper.wake)
    return AuthApp(
        settings=settings,
        contract=contract_of(wiring.capabilities),
        store=store,
        keys=wiring.keys,
        password_policy=wiring.password_policy,
        accounts=wiring.accounts,
        exporter=wiring.exporter,
        password_reset=wiring.password_reset,
        email_verification=wiring.email_verification,
        email_change_undo=wiring.email_change_undo,
        authentication=wiring.authentication,
        token_endpoint=wiring.token_endpoint,
        sessions=wiring.sessions,
        clients=wiring.clients,
        tokens=wiring.tokens,
        revocations=wiring.revocations,
        mail_worker=wiring.mail_worker,
        housekeeper=wiring.housekeeper,
        texts=wiring.texts,
        stopping=wiring.stopping,
    )


class _Wiring:
    """The services of one process, each made once, from what it needs."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        clock: Clock,
        mailer: Mailer | None,
        further: Sequence[Capability],
    ) -> None:
        self.capabilities = (*CAPABILITIES, *further)
        self.stopping = threading.Event()
        self._settings = settings
        self._store = store
        self._clock = clock
        self._mailer = mailer
        self._further = further

    @cached_property
    def keys(self) -> KeyRing:
        return build_key_ring(self._settings, store=self._store, clock=self._clock)

    @cached_property
    def access_tokens(self) -> AccessTokens:
        return AccessTokens(
            ring=self.keys,
            clock=self._clock,
            issuer=self._settings.http.public_url,
            settings=self._settings.tokens,
        )

    @cached_property
    def revocations(self) -> RevocationFeed:
        return RevocationFeed(
            store=self._store,
            clock=self._clock,
            ring=self.keys,
            issuer=self._settings.http.public_url,
            stopping=self.stopping,
        )

    @cached_property
    def refresh_tokens(self) -> RefreshTokens:
        return RefreshTokens(derive_keys(_secrets(self._settings, self._store), KeyPurpose.REFRESH_TOKENS))

    @cached_property
    def sessions(self) -> SessionService:
        return SessionService(
            store=self._store,
            clock=self._clock,
            settings=self._settings.tokens,
            access_tokens=self.access_tokens,
            refresh_tokens=self.refresh_tokens,
        )

    @cached_property
    def throttle(self) -> Throttle:
        return _build_throttle(self._settings, store=self._store, clock=self._clock)

    @cached_property
    def passwords(self) -> PasswordHasher:
        return PasswordHasher(self._settings.passwords)

    @cached_property
    def devices(self) -> DeviceService:
        tokens = DeviceTokens(derive_keys(_secrets(self._settings, self._store), KeyPurpose.DEVICE_TOKENS))
        return DeviceService(store=self._store, clock=self._clock, tokens=tokens)

    @cached_property
    def attempts(self) -> PasswordAttempts:
        return PasswordAttempts(passwords=self.passwords, throttle=self.throttle, devices=self.devices)

    @cached_property
    def password_policy(self) -> PasswordPolicy:
        return PasswordPolicy(self._settings.passwords)

    @cached_property
    def authentication(self) -> Authentication:
        return Authentication(
            store=self._store,
            clock=self._clock,
            passwords=self.passwords,
            attempts=self.attempts,
            devices=self.devices,
            sessions=self.sessions,
            throttle=self.throttle,
            settings=self._settings.mail,
        )

    @cached_property
    def reauthentication(self) -> Reauthentication:
        return Reauthentication(
            store=self._store,
            clock=self._clock,
            passwords=self.passwords,
            attempts=self.attempts,
            throttle=self.throttle,
        )

    @cached_property
    def accounts(self) -> Accounts:
        return Accounts(
            store=self._store,
            clock=self._clock,
            passwords=self.passwords,
            throttle=self.throttle,
            reauthentication=self.reauthentication,
            policy=self.password_policy,
            settings=self._settings.mail,
        )

    @cached_property
    def exporter(self) -> Exporter:
        parts = {member: part for one in self.capabilities for member, part in one.export.items()}
        return Exporter(store=self._store, clock=self._clock, show=ExportHead.of, parts=parts)

    @cached_property
    def password_reset(self) -> PasswordReset:
        return PasswordReset(
            store=self._store,
            clock=self._clock,
            passwords=self.passwords,
            throttle=self.throttle,
            policy=self.password_policy,
            devices=self.devices,
        )

    @cached_property
    def email_verification(self) -> EmailVerification:
        return EmailVerification(
            store=self._store,
            clock=self._clock,
            reauthentication=self.reauthentication,
            throttle=self.throttle,
        )

    @cached_property
    def email_change_undo(self) -> EmailChangeUndo:
        return EmailChangeUndo(store=self._store, clock=self._clock)

    @cached_property
    def clients(self) -> ClientService:
        return build_clients(self._settings, store=self._store, clock=self._clock)

    @cached_property
    def token_endpoint(self) -> TokenEndpoint:
        return TokenEndpoint(
            clock=self._clock,
            authentication=self.authentication,
            sessions=self.sessions,
            clients=self.clients,
            access_tokens=self.access_tokens,
            settings=self._settings.tokens,
            allows_passwords=self._settings.passwords.grant,
        )

    @cached_property
    def tokens(self) -> TokenInspector:
        return TokenInspector(
            store=self._store,
            clock=self._clock,
            settings=self._settings.tokens,
            clients=self.clients,
            sessions=self.sessions,
            access_tokens=self.access_tokens,
            refresh_tokens=self.refresh_tokens,
        )

    @cached_property
    def texts(self) -> Texts:
        return open_texts(self._settings, self._further)

    @cached_property
    def mail_worker(self) -> MailWorker:
        return build_mail_worker(
            self._settings,
            store=self._store,
            clock=self._clock,
            mailer=self._mailer,
            renderer=build_renderer(self._settings, self.texts, self._further),
        )

    @cached_property
    def housekeeper(self) -> Housekeeper:
        return Housekeeper(
            store=self._store,
            clock=self._clock,
            ring=self.keys,
            settings=self._settings,
            purges={
                **{table: purge for one in self.capabilities for table, purge in one.purges.items()},
                # Last: of the accounts that were deleted just now, too.
                "deleted accounts": Eraser(
                    [erase for one in self.capabilities for erase in one.erasures.values()]
                ).purge,
            },
        )


def build_mail_worker(
    settings: Settings,
    *,
    store: Store,
    clock: Clock | None = None,
    mailer: Mailer | None = None,
    renderer: EmailRenderer | None = None,
) -> MailWorker:
    """Wire the mail worker alone, for a process that does nothing else.

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
        settings=settings.mail,
    )


def open_texts(settings: Settings, further: Sequence[Capability] = ()) -> Texts:
    """Open the texts of letters and pages: the operator's, those of further capabilities, and ours.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    folders = [one.texts for one in further if one.texts is not None]
    return Texts(settings.mail.texts_dir, language=settings.mail.mail_language, further=folders)


def build_renderer(settings: Settings, texts: Texts, further: Sequence[Capability] = ()) -> EmailRenderer:
    """Wire the renderer of e-mails.

    Raises:
        TextsError: the operator's folder of texts cannot be used.

    """
    kinds = [kind for one in (*CAPABILITIES, *further) for kind in one.letters]
    return EmailRenderer(texts, settings, kinds=kinds)


def build_composer(settings: Settings, *, store: Store, clock: Clock) -> Composer:
    """Wire the composer of letters."""
    limit_key = derive_keys(_secrets(settings, store), KeyPurpose.LETTERS)[0]
    return Composer(
        store=store,
        clock=clock,
        tokens=OneTimeTokenMaker(derive_keys(_secrets(settings, store), KeyPurpose.LINKS)),
        recipient_limit=RecipientLimit(key=limit_key, settings=settings.mail),
        throttle=_build_throttle(settings, store=store, clock=clock),
        settings=settings.mail,
    )


def build_mailer(settings: Settings) -> Mailer:
    """Wire the mailer: an SMTP server, or in development without one, a folder."""
    if settings.mail.smtp_url is None:
        return LocalMailbox(settings.mailbox_dir)
    timeout = settings.mail.smtp_timeout.total_seconds()
    return SmtpMailer(SmtpServer.parse(settings.mail.smtp_url, timeout=timeout, name=settings.public_host))


def build_clients(settings: Settings, *, store: Store, clock: Clock | None = None) -> ClientService:
    """Wire the registered clients alone, for the command line."""
    clock = clock or SystemClock()
    refusals = RejectionLog(store=store, clock=clock, counters=_build_counter_store(settings, store))
    return ClientService(store=store, clock=clock, refusals=refusals, settings=settings.tokens)


def build_key_ring(settings: Settings, *, store: Store, clock: Clock | None = None) -> KeyRing:
    """Wire the key ring alone, for the command line."""
    return KeyRing(
        store=store,
        clock=clock or SystemClock(),
        seal=Seal(derive_keys(_secrets(settings, store), KeyPurpose.SIGNING_KEYS)),
        settings=settings.tokens,
    )


def build_secret_replacement(settings: Settings, *, store: Store, clock: Clock | None = None) -> SecretReplacement:
    """Wire the replacement of a leaked secret alone, for the command line."""
    clock = clock or SystemClock()
    return SecretReplacement(store=store, clock=clock, ring=build_key_ring(settings, store=store, clock=clock))


def _secrets(settings: Settings, store: Store) -> tuple[SecretStr, ...]:
    """Return the secret and the earlier ones. Development makes one, for a database that has no key of another.

    Raises:
        SecretMissingError: the database has keys, and the file with the secret that opens them is gone.

    """
    if settings.lacks_secret and _has_keys(store):
        raise SecretMissingError
    return settings.secrets


def _has_keys(store: Store) -> bool:
    try:
        store.check()
    except NotReady:
        return False
    with store.reading() as read:
        return bool(read.keys.all())


def _build_throttle(settings: Settings, *, store: Store, clock: Clock) -> Throttle:
    kind = Throttle if settings.throttling.throttle else NoThrottle
    return kind(store=store, clock=clock, counters=_build_counter_store(settings, store))


def _build_counter_store(settings: Settings, store: Store) -> CounterStore:
    return CounterStore(
        key=derive_keys(_secrets(settings, store), KeyPurpose.THROTTLE)[0], rules=rules(settings.throttling)
    )
