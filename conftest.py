"""Fixtures that every suite shares: those of `tests` and those of `lab`."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings as hypothesis_settings

from core.settings.groups import DatabaseSettings
from core.sql_store import SqlStore
from lab.rounds import IS_LONG
from tests.support.clock import FakeClock
from tests.support.databases import (
    copied_store,
    folder_in_memory,
    migrated_file,
    migrated_store,
    postgres_url,
    sqlite_url,
)
from tests.support.drivers import event_loop
from tests.support.live import DATABASES, Figures, database_url
from tests.support.pooler import pooling
from tests.support.postgres import postgres_server
from tests.support.programs import skipped
from tests.support.servers import FRAMEWORKS

# The short run asks the same each time, so that a change answers for itself; `make lab-fuzz` asks something new.
hypothesis_settings.register_profile("short", derandomize=True)
if not IS_LONG:
    hypothesis_settings.load_profile("short")


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


def pytest_collection_finish() -> None:
    """Look less often for garbage in what stays anyway, the code of all tests: a tenth of the time of a test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not asked, and how to have it asked: nobody misses a test that is not there."""
    terminalreporter.section("not asked")
    for line in skipped(terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line)
    terminalreporter.write_line("make test asks tests/; make proofs a short round of lab/; make lab-stack needs Docker")


@pytest.fixture(scope="session", autouse=True)
def _away_from_dotenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nor may the .env file in the folder where they run them."""
    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(here)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that a test moves by hand."""
    return FakeClock()


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    with event_loop() as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def database_folder() -> Iterator[Path]:
    """Where the SQLite files of tests are that are not about disks."""
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="session")
def stores(postgres: str, database_folder: Path) -> Iterator[Any]:
    """Open a migrated store by the name of its database, once a session and owner."""
    opened: dict[tuple[str, str], Any] = {}
    with ExitStack() as stack:

        def open_named(name: str, owner: str = "") -> Any:
            if (name, owner) not in opened:
                url = stack.enter_context(sqlite_url(database_folder) if name == "sqlite" else postgres_url(postgres))
                if name == "pgbouncer":
                    url = stack.enter_context(pooling(url))
                settings = DatabaseSettings(pooler=name == "pgbouncer")
                opened[name, owner] = stack.enter_context(migrated_store(url, settings))
            return opened[name, owner]

        yield open_named


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """The name of a front door."""
    return str(request.param)


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that no server has seen."""
    with database_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def email() -> str:
    """An address that nobody has."""
    return f"ann.{secrets.token_hex(6)}@example.com"


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Figures:
    """Print what was measured, also where the test passes."""

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return show


@pytest.fixture(scope="session")
def sqlite_template(database_folder: Path) -> Path:
    """A migrated SQLite file, to be copied."""
    return migrated_file(database_folder)


@pytest.fixture
def new_store(sqlite_template: Path, database_folder: Path) -> Iterator[Callable[[], SqlStore]]:
    """Open a store of its own for a test that is not about databases; each call opens another."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(copied_store(sqlite_template, database_folder))
