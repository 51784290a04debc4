"""Real servers over real databases, one pair for all the tests that do not stop them."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.api import PASSWORD
from tests.support.databases import postgres_url, sqlite_url
from tests.support.servers import ANSWER_SECONDS, CHEAP, FRAMEWORKS, HOST, Server, serving

DATABASES = ("sqlite", "postgres")

Figures = Callable[[str], None]


@dataclass(frozen=True)
class Pair:
    """Two processes, one database."""

    fastapi: Server
    flask: Server

    def __getitem__(self, framework: str) -> Server:
        return {"fastapi": self.fastapi, "flask": self.flask}[framework]


def _opened(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield stack.enter_context(sqlite_url(folder))
        else:
            yield stack.enter_context(postgres_url(request.getfixturevalue("postgres")))


@pytest.fixture(scope="session", params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the database behind the pair."""
    yield from _opened(request, tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=DATABASES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that no server has seen."""
    yield from _opened(request, tmp_path)


@pytest.fixture(scope="session")
def pair(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both front doors, at the price of a test for a hash."""
    folder = tmp_path_factory.mktemp("pair")
    with serving(folder, *FRAMEWORKS, AUTH_DATABASE_URL=database, **CHEAP) as (fastapi, flask):
        yield Pair(fastapi, flask)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """The name of a front door."""
    return str(request.param)


@pytest.fixture
def server(pair: Pair, framework: str) -> Server:
    """One of the pair."""
    return pair[framework]


@pytest.fixture
def email() -> str:
    """An address that nobody has."""
    return f"ann.{secrets.token_hex(6)}@example.com"


@contextmanager
def hanging(database: Path, *ports: int) -> Iterator[None]:
    """At each port somebody who signs up and waits, for somebody else holds the database."""
    body = json.dumps({"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}).encode()
    head = f"Host: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with closing(sqlite3.connect(database, isolation_level=None)) as holder, ExitStack() as stack:
        holder.execute("BEGIN IMMEDIATE")
        for port in ports:
            connection = stack.enter_context(socket.create_connection((HOST, port), ANSWER_SECONDS))
            connection.sendall(b"POST /v1/signup HTTP/1.1\r\n" + head + body)
        time.sleep(0.5)  # until they wait: nothing shows that from outside
        yield


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Figures:
    """Prints what was measured, also where the test passes."""

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")

    return show
