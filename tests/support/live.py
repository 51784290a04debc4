"""What the tests of real servers share beside the servers themselves."""

from __future__ import annotations

import json
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.api import PASSWORD
from tests.support.databases import postgres_url, sqlite_url
from tests.support.servers import ANSWER_SECONDS, HOST, Server

DATABASES = ("sqlite", "postgres")

Figures = Callable[[str], None]
"""Prints a line of what was measured, also where the test passes."""


@dataclass(frozen=True)
class Pair:
    """Both front doors over one database."""

    fastapi: Server
    flask: Server

    def __getitem__(self, framework: str) -> Server:
        return {"fastapi": self.fastapi, "flask": self.flask}[framework]


@contextmanager
def database_url(name: str, folder: Path, postgres: Callable[[], str]) -> Iterator[str]:
    """An empty database; the PostgreSQL server is asked for where it is needed."""
    with sqlite_url(folder) if name == "sqlite" else postgres_url(postgres()) as url:
        yield url


@contextmanager
def hanging(database: Path, *ports: int) -> Iterator[None]:
    """A signup at each port that waits for SQLite's one writer, who does not commit."""
    body = json.dumps({"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}).encode()
    head = f"Host: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with closing(sqlite3.connect(database, isolation_level=None)) as holder, ExitStack() as stack:
        holder.execute("BEGIN IMMEDIATE")
        for port in ports:
            connection = stack.enter_context(socket.create_connection((HOST, port), ANSWER_SECONDS))
            connection.sendall(b"POST /v1/signup HTTP/1.1\r\n" + head + body)
        time.sleep(0.5)  # until they wait: nothing shows that from outside
        yield
