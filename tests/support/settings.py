"""Settings for tests."""

from typing import Any

from pydantic import SecretStr

from core.settings.groups import (
    DatabaseSettings,
    HttpSettings,
    LoggingSettings,
    MailSettings,
    PasswordSettings,
    ThrottleSettings,
    TokenSettings,
)
from core.settings.whole import Settings

SECRET = "0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg0"


# What production asks of a service whose mail leaves from elsewhere and whose database a test opens by itself.
PRODUCTION: dict[str, Any] = {
    "env": "production",
    "passwords": PasswordSettings(bcrypt_cost=10),
    "http": HttpSettings(public_url="https://auth.example.com"),
    "mail": MailSettings(relay=False),
    "database": DatabaseSettings(url=SecretStr("sqlite:////var/lib/twinauth/twinauth.db")),
}


def make_settings(**changes: Any) -> Settings:
    """Settings for a test: everything as in production but for the price of a hash."""
    defaults: dict[str, Any] = {
        "secret_key": SecretStr(SECRET),
        "passwords": PasswordSettings(bcrypt_cost=4, argon2_memory=8, argon2_time=1),
        "http": HttpSettings(),
        "tokens": TokenSettings(),
        "logging": LoggingSettings(),
    }
    return Settings(**defaults | changes)


# For tests in which many attempts at once are not what is tested: they are counted, and none is too much.
AMPLE = ThrottleSettings(
    throttle_account=1000,
    throttle_block=100_000,
    throttle_strangers=100_000,
    throttle_signups=100_000,
    throttle_mail=100_000,
)
