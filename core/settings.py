"""Settings: frozen groups, one a concern, read from ``AUTH_*`` variables and ``.env``, checked at the start."""

import os
import re
import secrets
from datetime import timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses, parseaddr
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode, SettingsConfigDict

from core.setting_files import SUFFIX, SettingsError, SettingsGroup, given

PREFIX = "AUTH_"
ENV_FILE = ".env"
MIN_SECRET_LENGTH = 32
# What examples, templates and tutorials leave behind; a secret that contains one of them is nobody's secret.
PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "changethis",
    "secret",
    "example",
    "placeholder",
    "my_precious",
)

# A JWKS is cached for five minutes; a key that signs sooner would meet verifiers that do not know it.
MIN_PROPAGATION = timedelta(minutes=6)
# The longest life a setting can give an access token; keys are kept and tokens are refused by this bound.
MAX_ACCESS_TTL = timedelta(hours=1)

SMTP_SCHEMES = ("smtp+starttls", "smtps", "smtp")
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Environment = Literal["development", "production"]
Algorithm = Literal["ES256", "RS256", "EdDSA"]


def _absolute_url(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-/]*)?", value):
        raise ValueError("must be an http or https URL without query, fragment or user")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", value):
        raise ValueError("must be origins such as https://app.example.com, in lower case and without a path")
    return value


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,3})?", value):
        raise ValueError("must be a number of seconds")
    return timedelta(seconds=float(value))


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(
        r"(postgresql|postgres)(\+psycopg)?://([^/?#]*@)?[^/?#@:\[]*(\[[0-9a-fA-F:.]+\])?(:[0-9]{1,5})?(/[^?#]*)?(\?.*)?|sqlite:///[^:?#][^?#]*",
        text,
    ):
        raise ValueError("must be postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH")
    return value


def _smtp_url(value: SecretStr) -> SecretStr:
    try:
        usable = _is_smtp(urlsplit(value.get_secret_value()))
    except ValueError:  # a port, or brackets; its text may hold the password
        usable = False
    if not usable:
        raise ValueError(f"must be {', '.join(SMTP_SCHEMES)}, each with ://USER:PASSWORD@HOST:PORT")
    return value


def _is_smtp(parts: SplitResult) -> bool:
    is_server = parts.scheme in SMTP_SCHEMES and bool(parts.hostname) and parts.port != 0
    # smtplib logs in with ASCII alone, and with both or not at all.
    is_login = unquote(parts.netloc).isascii() and (parts.username is None) == (parts.password is None)
    return is_server and is_login and parts.path in ("", "/") and not parts.query and not parts.fragment


_MAILBOX = re.compile(r"[^<>@]+@[^<>@]+|[^<>@]*<[^<>@]+@[^<>@]+>")


def _mailbox(value: str) -> str:
    # The standard library's reader and not the validator of users' addresses, which refuses no-reply@localhost.
    name, address = parseaddr(value)
    try:
        is_one = _MAILBOX.fullmatch(value) is not None and len(getaddresses([value])) == 1
        usable = is_one and value.isprintable() and bool(Address(name, addr_spec=address).domain)
    except (ValueError, IndexError, HeaderParseError):
        usable = False
    if not usable:
        raise ValueError("must be an address such as no-reply@example.com or Name <no-reply@example.com>")
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_separated)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_comma_separated)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_comma_separated)]
PublicUrl = Annotated[str, AfterValidator(_absolute_url)]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _group(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=PREFIX + prefix, env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )


class DatabaseSettings(SettingsGroup):
    """Where the data lives."""

    model_config = _group("DATABASE_")

    url: DatabaseUrl | None = Field(
        None, description="URL of a PostgreSQL or SQLite database; without it, an SQLite file in the data folder"
    )
    pool_size: int = Field(20, ge=1, le=200, description="Connections that a process keeps at most")
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

    model_config = _group("TOKEN_")

    algorithm: Algorithm = Field("ES256", description="Algorithm of newly made signing keys")
    audience: str | None = Field(None, description="`aud` of access tokens; without it, the public URL")
    client_id: str = Field("twinauth", min_length=1, description="`client_id` of tokens from a login")
    access_ttl: Seconds = Field(
        timedelta(minutes=15),
        ge=timedelta(minutes=1),
        le=MAX_ACCESS_TTL,
        description="Seconds an access token lives",
    )
    refresh_grace: Seconds = Field(
        timedelta(seconds=10),
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


class PasswordSettings(SettingsGroup):
    """Password policy and hashing."""

    model_config = _group("PASSWORD_")

    min_length: int = Field(12, ge=8, le=64, description="Code points that a new password has at least")
    scheme: Literal["bcrypt_sha256", "argon2id"] = Field("bcrypt_sha256", description="How new passwords are hashed")
    bcrypt_cost: int = Field(12, ge=4, le=15, description="bcrypt cost; production refuses less than 10")
    argon2_memory: int = Field(19456, ge=8, le=1024 * 1024, description="argon2id memory in KiB")
    argon2_time: int = Field(2, ge=1, le=10, description="argon2id passes")
    argon2_parallelism: int = Field(1, ge=1, le=16, description="argon2id lanes")
    hash_concurrency: int = Field(
        default_factory=cores,
        ge=1,
        le=256,
        description="Hashes that a process computes at once; the cores by default",
    )
    hash_queue: int = Field(
        4,
        ge=0,
        le=1000,
        description="Hashes that wait at most; the next is answered 503. Four take half a second on two cores",
    )


class HttpSettings(SettingsGroup):
    """What the outside sees."""

    model_config = _group("")

    public_url: PublicUrl | None = Field(
        None,
        description="URL under which clients reach it, and issuer of tokens; `http://127.0.0.1:8000` in development",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, comma-separated",
    )
    cors_origins: Origins = Field(
        (), description="Origins that browsers may call from, comma-separated; none by default"
    )
    drain: Seconds = Field(
        timedelta(0),
        ge=timedelta(0),
        le=timedelta(minutes=5),
        description="Seconds for which a process that is told to stop says so in `/readyz` and goes on serving; longer "
        "than the load balancer takes to notice",
    )
    served_by: bool = Field(False, description="Name the front door that answered in `X-Served-By`")
    docs: bool | None = Field(
        None, description="Serve `/docs`, `/redoc` and `/openapi.json`; on in development, off in production"
    )


class MailSettings(SettingsGroup):
    """Mail: how it leaves, what stands in it, and what depends on it."""

    model_config = _group("")

    smtp_url: SmtpUrl | None = Field(
        None,
        description="`smtp+starttls://`, `smtps://` or `smtp://` (no encryption), then `USER:PASSWORD@HOST:PORT`; "
        "without it, development keeps messages in the data folder (`twinauth mail`)",
    )
    smtp_timeout: Seconds = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        le=timedelta(seconds=30),
        description="Seconds to wait for each answer of the mail server",
    )
    mail_from: Mailbox | None = Field(None, description="Sender; `no-reply@` the host of the public URL by default")
    mail_language: str = Field("en", description="Language of mail to those whose browser asks for none that there is")
    texts_dir: Path | None = Field(
        None, description="Folder with templates and catalogues that take the place of the ones that come with it"
    )
    mail_limit: int = Field(5, ge=1, le=1000, description="Messages of one kind that an account is sent an hour")
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
    require_verified_email: bool = Field(
        False, description="Let nobody log in before the address is verified, and tell no signup which ones are taken"
    )


class ThrottleSettings(SettingsGroup):
    """How much is allowed before pauses begin. What is spent comes back with time."""

    model_config = _group("")

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
    """What is written down, and how."""

    model_config = _group("LOG_")

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is written")
    format: Literal["json", "console"] | None = Field(
        None, description="`json` or `console`; console in development, json in production"
    )


class AuditSettings(SettingsGroup):
    """What is remembered of what happened."""

    model_config = _group("AUDIT_")

    retention: Seconds = Field(
        timedelta(days=365), ge=timedelta(days=1), description="Seconds after which audit events are deleted"
    )


class Settings(SettingsGroup):
    """All settings. Build it with `load_settings`, which turns every mistake into one plain line."""

    model_config = _group("")

    env: Environment = Field(
        "development", description="`development` makes what is missing, `production` refuses to start"
    )
    secret_key: SecretStr | None = Field(
        None, description="At least 32 characters, from which all keys are derived; made once in development"
    )
    old_secret_keys: Secrets = Field(
        (), description="Secret keys before this one, comma-separated, until `twinauth keys reseal` has run"
    )
    data_dir: Path = Field(Path(".twinauth"), description="Folder of the development secret and the SQLite file")

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    tokens: TokenSettings = Field(default_factory=TokenSettings)
    passwords: PasswordSettings = Field(default_factory=PasswordSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    mail: MailSettings = Field(default_factory=MailSettings)
    throttling: ThrottleSettings = Field(default_factory=ThrottleSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)

    @model_validator(mode="after")
    def _strong_secret(self) -> Self:
        if self.secret_key is not None:
            _refuse_weak(self.secret_key.get_secret_value())
        return self

    @model_validator(mode="after")
    def _production(self) -> Self:
        if self.env != "production":
            return self
        missing = [
            name
            for name, value in (
                ("AUTH_SECRET_KEY", self.secret_key),
                ("AUTH_PUBLIC_URL", self.http.public_url),
            )
            if value is None
        ]
        if missing:
            raise ValueError(f"{', '.join(missing)} must be set when AUTH_ENV=production")
        if self.tokens.key_propagation < MIN_PROPAGATION:
            raise ValueError("AUTH_TOKEN_KEY_PROPAGATION must be at least 360 when AUTH_ENV=production")
        if self.mail.smtp_url is None and self.mail.relay:
            raise ValueError(
                "AUTH_SMTP_URL must be set when AUTH_ENV=production, or AUTH_RELAY=false, and no mail leaves"
            )
        if self.mail.smtp_url and _sends_password_in_clear(self.mail.smtp_url.get_secret_value()):
            raise ValueError("AUTH_SMTP_URL would send a password unencrypted: use smtps:// or smtp+starttls://")
        if self.passwords.bcrypt_cost < 10:  # noqa: PLR2004 - ASVS 5.0 appendix C
            raise ValueError("AUTH_PASSWORD_BCRYPT_COST must be at least 10 when AUTH_ENV=production")
        return self

    @property
    def is_production(self) -> bool:
        """Whether convenience ends."""
        return self.env == "production"

    @cached_property
    def secret(self) -> SecretStr:
        """The secret key, made and kept in the data folder where development has none."""
        return self.secret_key or _development_secret(self.data_dir)

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The secret key and those before it."""
        return (self.secret, *self.old_secret_keys)

    @property
    def public_url(self) -> str:
        """The public URL without a slash at its end."""
        return self.http.public_url or "http://127.0.0.1:8000"

    @property
    def mailbox_dir(self) -> Path:
        """The folder of the messages that development keeps."""
        return self.data_dir / "mail"

    @property
    def public_host(self) -> str:
        """The host of the public URL."""
        return urlsplit(self.public_url).hostname or "localhost"

    @property
    def mail_from(self) -> str:
        """Who mail comes from."""
        if self.mail.mail_from is not None:
            return self.mail.mail_from
        is_address = re.fullmatch(r"[0-9.]+|.*:.*", self.public_host)
        return f"Twinauth <no-reply@{'localhost' if is_address else self.public_host}>"

    @property
    def audience(self) -> str:
        """The audience of access tokens."""
        return self.tokens.audience or self.public_url

    @property
    def database_url(self) -> str:
        """The database URL."""
        if self.database.url is not None:
            return self.database.url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'twinauth.db'}"

    @property
    def docs_enabled(self) -> bool:
        """Whether the documentation pages are served."""
        return not self.is_production if self.http.docs is None else self.http.docs

    @property
    def log_format(self) -> str:
        """The format of log lines."""
        return self.logging.format or ("json" if self.is_production else "console")


def _sends_password_in_clear(smtp_url: str) -> bool:
    parts = urlsplit(smtp_url)
    return parts.scheme == "smtp" and parts.password is not None and parts.hostname not in LOOPBACK


def _refuse_weak(secret: str) -> None:
    lowered = secret.lower()
    if len(secret) < MIN_SECRET_LENGTH:
        raise ValueError(f"AUTH_SECRET_KEY is shorter than {MIN_SECRET_LENGTH} characters")
    if any(word in lowered for word in PLACEHOLDERS) or len(set(secret)) < 8:  # noqa: PLR2004
        raise ValueError("AUTH_SECRET_KEY is a placeholder, not a secret")


def _development_secret(folder: Path) -> SecretStr:
    """Read the secret of this folder, or make it once; readable by its owner alone.

    Written under another name and then linked, so that of two first starts one wins and neither reads half a file.
    """
    path = folder / "secret_key"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f"secret_key.{secrets.token_hex(8)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} may be read by others; chmod 600 it")
    secret = path.read_text().strip()
    try:
        _refuse_weak(secret)
    except ValueError:
        raise SettingsError(f"{path} holds no usable secret; remove it to have a new one made") from None
    return SecretStr(secret)


GROUPS: dict[str, type[SettingsGroup]] = {
    "": Settings,
    "database": DatabaseSettings,
    "tokens": TokenSettings,
    "passwords": PasswordSettings,
    "http": HttpSettings,
    "mail": MailSettings,
    "throttling": ThrottleSettings,
    "logging": LoggingSettings,
    "audit": AuditSettings,
}


def variables() -> dict[str, FieldInfo]:
    """Every variable with what is known of it, for the README and for refusing misspelt ones."""
    return {
        f"{group.model_config['env_prefix']}{name.upper()}": field
        for group in GROUPS.values()
        for name, field in group.model_fields.items()
        if name not in GROUPS
    }


def settings_table() -> list[str]:
    """The table of settings in Markdown, line by line."""
    rows = [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in variables().items()]
    return ["| variable | default | what it is |", "|---|---|---|", *rows]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == () or field.default_factory is not None:
        return ""
    return f"`{value // timedelta(seconds=1)}`" if isinstance(value, timedelta) else f"`{value}`"


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: one line that names what is wrong and shows no value.

    """
    # A misspelt AUTH_TOKEN_ACESS_TTL that is silently ignored is a security setting that is not in force.
    names = {name for name in given(ENV_FILE) if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_")}
    known = variables().keys()
    unknown = sorted(name for name in names if name not in known and name.removesuffix(SUFFIX) not in known)
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}")
    doubled = sorted(name for name in names & known if name + SUFFIX in names)
    if doubled:
        raise SettingsError("; ".join(f"{name} and {name}{SUFFIX} are both set" for name in doubled))
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_plain(error))) from None


def _plain(error: ValidationError) -> list[str]:
    prefix = next((g.model_config["env_prefix"] for g in GROUPS.values() if g.__name__ == error.title), PREFIX)
    return [
        (f"{prefix}{str(found['loc'][0]).upper()}: " if found["loc"] else "")
        + found["msg"].removeprefix("Value error, ")
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
