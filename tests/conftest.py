"""Fixtures that every suite shares."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from core.settings import (
    DatabaseSettings,
    HttpSettings,
    LoggingSettings,
    PasswordSettings,
    Settings,
    ThrottleSettings,
    TokenSettings,
)
from lab.fuzz.budget import LONG
from tests.support.clock import FakeClock
from tests.support.databases import migrated_store, postgres_url, sqlite_url
from tests.support.drivers import event_loop
from tests.support.pooler import pooling
from tests.support.postgres import postgres_server

SECRET = "0J5hQ2vXr8mWk4Ty7Lp1Nc6Bz9Ds3Fg0"

# The everyday run asks the same each time, so that a change answers for itself; `make fuzz` looks elsewhere each time.
hypothesis_settings.register_profile("everyday", derandomize=True)
if not LONG:
    hypothesis_settings.load_profile("everyday")


def pytest_configure() -> None:
    """No setting of the person who runs the tests may reach them."""
    for name in [name for name in os.environ if name.startswith("AUTH_") and not name.startswith("AUTH_TEST_")]:
        del os.environ[name]
    # Through the standard library, whose handlers survive a full disk, and where pytest finds the lines.
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


@pytest.fixture(scope="session", autouse=True)
def _away_from_dotenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor may the .env file in the folder where they run them."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(here)


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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with event_loop() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def stores(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Open a migrated store by the name of its database, once a session."""
    opened: dict[str, Any] = {}
    with ExitStack() as stack:

        def open_named(name: str) -> Any:
            if name not in opened:
                url = stack.enter_context(
                    sqlite_url(tmp_path_factory.mktemp("sqlite")) if name == "sqlite" else postgres_url(postgres)
                )
                if name == "pgbouncer":
                    url = stack.enter_context(pooling(url))
                settings = DatabaseSettings(pooler=name == "pgbouncer")
                opened[name] = stack.enter_context(migrated_store(url, settings))
            return opened[name]

        yield open_named
