"""All settings together: the requirements of production, and the defaults that follow from other settings."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from core.settings.files import SettingsGroup
from core.settings.groups import (
    AuditSettings,
    DatabaseSettings,
    HttpSettings,
    LoggingSettings,
    MailSettings,
    PasswordSettings,
    ThrottleSettings,
    TokenSettings,
    named,
)
from core.settings.secret_key import development_secret, refuse_weak
from core.settings.values import Secrets

# Verifiers cache a JWKS for five minutes, so a key that signs sooner would be unknown to some of them.
MIN_PROPAGATION = timedelta(minutes=6)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
FREE_THREADS = 32  # at least, for requests that neither hash nor wait for a hash

Environment = Literal["development", "production"]


class RulesError(ValueError):
    """Settings do not go together, or not with production. The text of each variable shows no value."""

    def __init__(self, broken: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in broken.items()))
        self.broken = broken


class Settings(SettingsGroup):
    """All settings. Load them with `load_settings`, which tells all mistakes in one line."""

    model_config = named("")

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

    @field_validator("secret_key")
    @classmethod
    def _strong_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            refuse_weak(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _rules(self) -> Self:
        broken = dict(self._broken_rules())
        if broken:
            raise RulesError(broken)
        return self

    def _broken_rules(self) -> Iterator[tuple[str, str]]:
        if self.database.namespace and not self.database.url.get_secret_value().startswith("postgres"):
            yield "AUTH_DATABASE_SCHEMA", "goes with a PostgreSQL database; SQLite has no schemas"
        if self.env == "production":
            yield from self._broken_in_production()

    def _broken_in_production(self) -> Iterator[tuple[str, str]]:
        smtp_url = self.mail.smtp_url
        if self.secret_key is None:
            yield "AUTH_SECRET_KEY", "must be set when AUTH_ENV=production"
        if "public_url" not in self.http.model_fields_set:
            yield "AUTH_PUBLIC_URL", "must be set when AUTH_ENV=production"
        if self.tokens.key_propagation < MIN_PROPAGATION:
            yield "AUTH_TOKEN_KEY_PROPAGATION", "must be at least 360 when AUTH_ENV=production"
        if smtp_url is None and self.mail.relay:
            yield "AUTH_SMTP_URL", "must be set when AUTH_ENV=production, or AUTH_RELAY=false, and no mail leaves"
        if smtp_url and _sends_password_in_clear(smtp_url.get_secret_value()):
            yield "AUTH_SMTP_URL", "would send a password unencrypted: use smtps:// or smtp+starttls://"
        if self.passwords.bcrypt_cost < 10:  # noqa: PLR2004 - ASVS 5.0 appendix C
            yield "AUTH_PASSWORD_BCRYPT_COST", "must be at least 10 when AUTH_ENV=production"

    @model_validator(mode="after")
    def _resolved(self) -> Self:
        """Fill in missing values that follow from other settings, so that each value has one name."""
        self._resolve("database", url=SecretStr(f"sqlite:///{self.data_dir.resolve() / 'twinauth.db'}"))
        self._resolve("http", root_path=urlsplit(self.http.public_url).path)
        self._resolve("tokens", audiences=(self.http.public_url,))
        self._resolve("mail", mail_from=f"Twinauth <no-reply@{self._mail_domain()}>")
        if self.is_production:
            self._resolve("http", docs=False)
            self._resolve("passwords", grant=False)
            self._resolve("logging", format="json")
        return self

    def _resolve(self, group: str, **values: Any) -> None:
        found = getattr(self, group)
        given = found.model_dump(exclude_unset=True)
        missing = {name: value for name, value in values.items() if given.get(name) in (None, "", ())}
        # The settings are frozen, but this is still their construction.
        object.__setattr__(self, group, found.model_copy(update=missing))

    def _mail_domain(self) -> str:
        is_address = re.fullmatch(r"[0-9.]+|.*:.*", self.public_host)
        return "localhost" if is_address else self.public_host

    @property
    def is_production(self) -> bool:
        """Whether the strict rules of production apply."""
        return self.env == "production"

    @cached_property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The secret key and the earlier ones. Development makes one and stores it in the data folder."""
        return (self.secret_key or development_secret(self.data_dir), *self.old_secret_keys)

    @property
    def mailbox_dir(self) -> Path:
        """The folder in which development stores messages."""
        return self.data_dir / "mail"

    @property
    def public_host(self) -> str:
        """The host of the public URL."""
        return urlsplit(self.http.public_url).hostname or "localhost"

    @property
    def threads(self) -> int:
        """The threads of a serving process: at most half of them wait for a hash, the rest is for other requests."""
        waiting = self.passwords.hash_places
        return self.passwords.hash_concurrency + waiting + max(waiting, FREE_THREADS)


def _sends_password_in_clear(smtp_url: str) -> bool:
    parts = urlsplit(smtp_url)
    return parts.scheme == "smtp" and parts.password is not None and parts.hostname not in LOOPBACK
