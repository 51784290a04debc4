"""The settings in frozen groups, one for each concern."""

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from core.settings.files import SettingsGroup
from core.settings.values import (
    DatabaseUrl,
    Mailbox,
    Names,
    Networks,
    Origins,
    PublicUrl,
    RootPath,
    SchemaName,
    ScopesByRole,
    Seconds,
    SmtpUrl,
    Words,
)

PREFIX = "AUTH_"
ENV_FILE = ".env"

# The upper bound of an access token's lifetime, whatever is set: keys are published and tokens are refused by it.
MAX_ACCESS_TTL = timedelta(hours=1)

A_HASH = timedelta(milliseconds=250)  # of bcrypt with cost 12, on one core
MAX_HASH_PLACES = 128  # each holds a thread

Algorithm = Literal["ES256", "RS256", "EdDSA"]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def named(prefix: str) -> SettingsConfigDict:
    """Configure a group whose variables begin with `AUTH_` and this prefix."""
    return SettingsConfigDict(
        env_prefix=PREFIX + prefix,
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=False,  # empty defaults are replaced later by `Settings`
        validate_by_name=True,  # a field with an alias has its own name too
        loc_by_alias=False,
    )


class DatabaseSettings(SettingsGroup):
    """The database and its connections."""

    model_config = named("DATABASE_")

    url: DatabaseUrl = Field(
        SecretStr(""),
        description="URL of a PostgreSQL or SQLite database; without it, an SQLite file in the data folder",
    )
    pool_size: int = Field(20, ge=1, le=200, description="Connections that a process keeps at most")
    # `schema` is a method of every model of pydantic.
    namespace: SchemaName = Field(
        "",
        validation_alias="AUTH_DATABASE_SCHEMA",
        description="Schema of PostgreSQL for the tables, beside those of other applications; `twinauth migrate` makes "
        "it; without it, `public`",
    )
    timeout: Seconds = Field(
        timedelta(seconds=2),
        gt=timedelta(0),
        description="Seconds to wait for a connection, a lock or an answer",
    )
    pooler: bool = Field(
        False,
        description="A pooler that lends connections by the transaction, such as PgBouncer, stands before PostgreSQL",
    )


class TokenSettings(SettingsGroup):
    """Access tokens, refresh tokens, sessions and the keys that sign."""

    model_config = named("TOKEN_")

    algorithm: Algorithm = Field("ES256", description="Algorithm of newly made signing keys")
    audiences: Names = Field(
        (),
        description="`aud` of access tokens, comma-separated; the first is this service's own and the default, "
        "`resource` chooses another; without any, the public URL",
    )
    scopes: ScopesByRole = Field(
        default_factory=dict,
        description="Scopes of users by their role, as JSON: "
        '`{"*": "orders:read", "admin": "orders:read orders:write"}`; `*` is everybody',
    )
    client_id: str = Field("twinauth", min_length=1, description="`client_id` of tokens from a login")
    access_ttl: Seconds = Field(
        timedelta(minutes=15),
        ge=timedelta(minutes=1),
        le=MAX_ACCESS_TTL,
        description="Seconds an access token lives",
    )
    refresh_grace: Seconds = Field(
        timedelta(seconds=60),
        ge=timedelta(0),
        le=timedelta(seconds=300),
        description="Seconds in which a used refresh token gives its successor again",
    )
    session_idle: Seconds = Field(
        timedelta(days=30),
        ge=timedelta(minutes=1),
        description="Seconds without a refresh after which a session ends",
    )
    session_lifetime: Seconds = Field(
        timedelta(days=90),
        ge=timedelta(minutes=1),
        description="Seconds after the login at which a session ends",
    )
    session_limit: int = Field(
        100,
        ge=1,
        le=1000,
        description="Sessions a user may have at once; the next login ends the one idle longest",
    )
    key_propagation: Seconds = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="Seconds between publishing a key and signing with it; a JWKS is cached for 300",
    )
    key_lifetime: Seconds = Field(
        timedelta(days=30),
        ge=timedelta(hours=2),
        description="Seconds a key signs before the next one takes its place by itself",
    )

    @property
    def audience(self) -> str:
        """The audience of this service itself, and of tokens that ask for none."""
        return self.audiences[0]


class PasswordSettings(SettingsGroup):
    """Password policy and hashing."""

    model_config = named("PASSWORD_")

    min_length: int = Field(12, ge=8, le=64, description="Code points that a new password has at least")
    breached: Path | None = Field(
        None,
        description="File of leaked passwords to refuse beside the common ones, made by `twinauth passwords import`",
    )
    words: Words = Field(
        (),
        description="Words of the organisation, comma-separated: what is left of a new password without them must be "
        "long enough and uncommon",
    )
    scheme: Literal["bcrypt_sha256", "argon2id"] = Field("bcrypt_sha256", description="How new passwords are hashed")
    bcrypt_cost: int = Field(12, ge=4, le=15, description="bcrypt cost")
    argon2_memory: int = Field(19456, ge=8, le=1024 * 1024, description="argon2id memory in KiB")
    argon2_time: int = Field(2, ge=1, le=10, description="argon2id passes")
    argon2_parallelism: int = Field(1, ge=1, le=16, description="argon2id lanes")
    hash_concurrency: int = Field(
        default_factory=cores,
        ge=1,
        le=256,
        description="Hashes that a process computes at once; the cores by default",
    )
    hash_wait: Seconds = Field(
        timedelta(seconds=5),
        ge=timedelta(0),
        le=timedelta(seconds=1000),  # what its earlier name allowed, which counted requests
        description="Seconds that a request waits for its hash; one whose turn would come later is answered 503",
    )
    grant: bool = Field(
        True,
        description="Give tokens for a password at `/v1/token`, as Swagger UI asks; on in development, off in "
        "production, where `/v1/login` is the way",
    )

    @property
    def hash_places(self) -> int:
        """Requests that wait for their hash at once, at most: as many as can be hashed in the time they wait."""
        in_time = math.ceil(self.hash_wait / A_HASH) * self.hash_concurrency
        return min(in_time, MAX_HASH_PLACES)


class HttpSettings(SettingsGroup):
    """Addresses, proxies, origins and connections."""

    model_config = named("")

    public_url: PublicUrl = Field(
        "http://127.0.0.1:8000",
        description="URL under which clients reach it, and issuer of tokens",
    )
    root_path: RootPath = Field(
        "",
        description="Path under which a proxy shows it, whether it takes the path away or not; without it, that of the "
        "public URL",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, comma-separated",
    )
    cors_origins: Origins = Field(
        (), description="Origins of pages and applications that may call, comma-separated; none by default"
    )
    http_keep_alive: Seconds = Field(
        timedelta(seconds=65),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="Seconds in which the next request may begin on a connection; longer than the load balancer "
        "in front keeps idle ones, which is often 60. 0 closes behind each answer",
    )
    drain: Seconds = Field(
        timedelta(0),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="Seconds for which a process that is told to stop says so in `/readyz` and goes on serving; longer "
        "than the load balancer takes to notice",
    )
    served_by: bool = Field(False, description="Name the front door that answered in `X-Served-By`")
    docs: bool = Field(
        True, description="Serve `/docs`, `/redoc` and `/openapi.json`; on in development, off in production"
    )


class MailSettings(SettingsGroup):
    """Sending mail, its texts, and operations that need it."""

    model_config = named("")

    smtp_url: SmtpUrl | None = Field(
        None,
        description="`smtp+starttls://`, `smtps://` or `smtp://` (no encryption), then `USER:PASSWORD@HOST:PORT`; "
        "without it, development keeps messages in the data folder (`twinauth mail`)",
    )
    smtp_timeout: Seconds = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        le=timedelta(seconds=30),
        description="Seconds to wait for each answer of the mail server; four times as long in all to connect, and to "
        "send a message",
    )
    mail_from: Mailbox = Field("", description="Sender; `no-reply@` the host of the public URL by default")
    mail_language: str = Field("en", description="Language of mail to those whose browser asks for none that there is")
    texts_dir: Path | None = Field(
        None, description="Folder with templates and catalogues that take the place of the ones that come with it"
    )
    mail_limit: int = Field(
        5,
        ge=1,
        le=1000,
        description="Messages of one kind that an account is sent an hour, and letters to an address that is not "
        "verified; of those that strangers request, as many for each address block and three times as many in all; "
        "beyond it, a link when none works that was sent before",
    )
    mail_attempts: int = Field(
        12, ge=1, le=100, description="Attempts to send a message before it is given up (`twinauth outbox`)"
    )
    mail_retention: Seconds = Field(
        timedelta(days=1),
        ge=timedelta(hours=1),
        description="Seconds after which the record of a sent message is deleted; its content goes at once",
    )
    relay: bool = Field(True, description="Send mail from the serving processes; off where `twinauth relay` runs")
    reset_ttl: Seconds = Field(
        timedelta(minutes=15),
        ge=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="Seconds a link that resets a password works",
    )
    verification_ttl: Seconds = Field(
        timedelta(hours=24),
        ge=timedelta(minutes=1),
        le=timedelta(days=7),
        description="Seconds a link that verifies an address works",
    )
    unverified_ttl: Seconds = Field(
        timedelta(days=30),
        ge=timedelta(0),
        description="Seconds after which an account is deleted whose address was never verified, if nobody has used it "
        "as long; 0 keeps it",
    )
    require_verified_email: bool = Field(
        False, description="Let nobody log in before the address is verified, and tell no signup which ones are taken"
    )


class ThrottleSettings(SettingsGroup):
    """The bursts of the rate limits; each is refilled with time."""

    model_config = named("")

    throttle: bool = Field(True, description="Slow down who guesses passwords, signs up or has mail sent too often")
    throttle_account: int = Field(
        5,
        ge=1,
        le=1000,
        description="Wrong passwords for an account from one address block; one back in 600 s",
    )
    throttle_block: int = Field(
        100, ge=1, le=100_000, description="Wrong passwords from one address block; one back in 10 s"
    )
    throttle_strangers: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Wrong passwords for an account from blocks that never logged in to it; one back in 600 s",
    )
    throttle_signups: int = Field(30, ge=1, le=100_000, description="Signups from one address block; one back in 60 s")
    throttle_mail: int = Field(
        100, ge=1, le=100_000, description="Requests for mail from one address block; one back in 30 s"
    )


class LoggingSettings(SettingsGroup):
    """The level and the format of the log."""

    model_config = named("LOG_")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is written")
    format: Literal["json", "console"] = Field(
        "console", description="`json` or `console`; console in development, json in production"
    )


class AuditSettings(SettingsGroup):
    """The retention of audit events."""

    model_config = named("AUDIT_")

    retention: Seconds = Field(
        timedelta(days=365), ge=timedelta(days=1), description="Seconds after which audit events are deleted"
    )
