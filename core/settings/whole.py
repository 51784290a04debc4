"""All settings together: the requirements of production, and the defaults that follow from other settings."""

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

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
from core.settings.production import DANGERS, Danger, met, unknown
from core.settings.secret_key import development_secret, secret_file
from core.settings.values import Names, Secrets

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
    insecure: Names = Field(
        (), description="Names of the next table, comma-separated: what production starts with nevertheless"
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

    _met: tuple[Danger, ...] = PrivateAttr(())

    @field_validator("insecure")
    @classmethod
    def _known_dangers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(unknown(value)):
            raise ValueError(f"knows no other names than {', '.join(danger.name for danger in DANGERS)}")
        return value

    @model_validator(mode="after")
    def _rules(self) -> Self:
        broken: dict[str, str] = {}
        for name, text in self._broken_rules():
            broken.setdefault(name, text)
        if broken:
            raise RulesError(broken)
        return self

    def _broken_rules(self) -> Iterator[tuple[str, str]]:
        if self.database.namespace and not self.database.url.get_secret_value().startswith("postgres"):
            yield "AUTH_DATABASE_SCHEMA", "goes with a PostgreSQL database; SQLite has no schemas"
        if self.is_production:
            self._met = met(self)
            yield from ((danger.variable, danger.refusal) for danger in self._met if danger.name not in self.insecure)

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
    def lacks_secret(self) -> bool:
        """Whether there is none, so that development makes one."""
        return self.secret_key is None and not secret_file(self.data_dir).exists()

    @property
    def allowed_dangers(self) -> tuple[Danger, ...]:
        """What production would refuse, and `AUTH_INSECURE` allows."""
        return self._met

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
