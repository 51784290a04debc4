"""One pair of servers over each database, for all the tests that do not stop them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.live import DATABASES, Pair, database_url
from tests.support.mail import MailServer
from tests.support.servers import CHEAP, FRAMEWORKS, Server, serving


@pytest.fixture(scope="session", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the database behind the pair."""
    folder = tmp_path_factory.mktemp("sqlite")
    with database_url(request.param, folder, lambda: request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def mail_server() -> Iterator[MailServer]:
    """The mail server of both pairs."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def pair(database: str, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both front doors, at the price of a test for a hash."""
    settings = {"AUTH_DATABASE_URL": database, "AUTH_SMTP_URL": mail_server.url, **CHEAP}
    with serving(tmp_path_factory.mktemp("pair"), *FRAMEWORKS, **settings) as servers:
        yield Pair(*servers)


@pytest.fixture
def server(pair: Pair, framework: str) -> Server:
    """One of the pair."""
    return pair[framework]
