"""A PostgreSQL server of its own for whoever wants to kill, stop, restart, fill or close it.

It acknowledges nothing before it has written it, as in production. It does not wait for the disk: what the operating
system was given survives the end of a process, and of the machine nobody takes the power.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from lab.faults.processes import children_of, lives
from tests.support.postgres import _binaries, _die_with_parent, _usable_by_owner, free_port
from tests.support.servers import eventually

START_SECONDS = 30
STOP_SECONDS = 20
PLACES = 100  # connections, but for the one of an administrator who watches, and three that are kept for others


class Postgres:
    """A server and its one process at a time."""

    def __init__(self, folder: Path, options: dict[str, str]) -> None:
        self._folder = folder
        self._binaries, self._identity = _usable_by_owner(_binaries(), folder)
        self._options = options
        self._password = secrets.token_hex(8)
        self._server: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        self._databases: list[str] = []
        self.port = free_port()
        self._initialise()

    def start(self) -> None:
        """Start it, and wait until it has recovered and answers."""
        assert self._server is None
        self._server = self._spawn()
        if not eventually(self._answers, START_SECONDS):
            raise RuntimeError((self._folder / "log").read_text())

    def kill(self) -> None:
        """End all its processes at once, without a word or a byte more."""
        self.stop()  # so that nobody makes new processes meanwhile
        processes = self._processes()
        for process in processes:
            _send(process, signal.SIGKILL)
        self._wait()
        # One that is left would still have the memory that they share, and the next server would refuse to start.
        assert eventually(lambda: not any(map(lives, processes)), STOP_SECONDS)

    def shut_down(self) -> None:
        """Let it end every connection and close in good order."""
        assert self._server is not None
        self._server.send_signal(signal.SIGINT)
        self._wait()

    def stop(self) -> None:
        """Stop all its processes: it is there and says nothing."""
        first, *others = self._processes()
        _send(first, signal.SIGSTOP)
        for process in {*others, *self._processes()} - {first}:
            _send(process, signal.SIGSTOP)
        self._is_stopped = True

    def go_on(self) -> None:
        """Let it go on where it was stopped."""
        if self._is_stopped:
            for process in reversed(self._processes()):
                _send(process, signal.SIGCONT)
            self._is_stopped = False

    def heal(self) -> None:
        """Whatever was done to it, let it be as it was."""
        self.go_on()
        if self._server is None:
            self.start()

    def close(self) -> None:
        """End it for good."""
        if self._server is not None:
            self.kill()

    def administer(self, *statements: LiteralString | sql.Composed) -> None:
        """Run statements as the administrator, for whom a place is kept."""
        with self.administrator() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database as a service reaches it, whose user is not the administrator."""
        name = f"test_{secrets.token_hex(6)}"
        self.administer(sql.SQL("CREATE DATABASE {} OWNER service").format(sql.Identifier(name)))
        self._databases.append(name)
        yield self._url("service", name)
        self._databases.remove(name)
        self.administer(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Other clients have every connection, and those of the service were ended for them."""
        with self.administrator() as administrator, ExitStack() as taken:
            self._let_in(administrator, value=False)  # the doors would be in the race for every place
            while _count(administrator, "application_name = 'taker'") < PLACES:
                administrator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE usename = 'service' AND application_name <> 'taker'"
                )
                self._take(taken)
            self._let_in(administrator, value=True)
            yield

    def set_read_only(self, *, value: bool) -> None:
        """Let every new transaction, also of those who are connected, be read-only."""
        setting = sql.SQL("on" if value else "off")
        self.administer(
            sql.SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(setting),
            "SELECT pg_reload_conf()",
        )
        with psycopg.connect(self._url("service", "postgres"), autocommit=True) as connection:
            # The main process has read its settings when a new connection has them; the others within their next turn.
            assert eventually(lambda: _is_read_only(connection) == value, START_SECONDS)

    def _take(self, taken: ExitStack) -> None:
        """Take every place that is free now."""
        url = f"{self._url('service', 'postgres')}?application_name=taker"
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(url, autocommit=True))

    def _let_in(self, administrator: psycopg.Connection[Any], *, value: bool) -> None:
        for name in self._databases:
            administrator.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(value))
            )

    def administrator(self) -> psycopg.Connection[Any]:
        """A connection for whom a place is kept."""
        return psycopg.connect(self._url("app", "postgres"), autocommit=True)

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}:{self._password}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise RuntimeError((self._folder / "log").read_text())
        try:
            self.administer("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _processes(self) -> list[int]:
        """The ids of the main process and of its children."""
        assert self._server is not None
        return [self._server.pid, *children_of(self._server.pid)]

    def _wait(self) -> None:
        assert self._server is not None
        self._server.wait(STOP_SECONDS)
        self._server = None
        self._is_stopped = False

    def _initialise(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        make: list[str | Path] = [self._binaries / "initdb", "-D", self._folder / "data", "-U", "app"]
        make += ["--pwfile", password_file, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(make, capture_output=True, check=False, **self._common())
        if made.returncode:
            raise RuntimeError(made.stderr.decode())
        self.start()
        self.administer(
            sql.SQL("CREATE ROLE service LOGIN PASSWORD {}").format(sql.Literal(self._password)),
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        run: list[str | Path] = [self._binaries / "postgres", "-D", self._folder / "data", "-p", str(self.port)]
        chosen = {
            "listen_addresses": "127.0.0.1",
            "fsync": "off",
            "unix_socket_directories": str(self._folder),
            "max_connections": str(PLACES + 4),
            "superuser_reserved_connections": "3",
        }
        for name, value in (chosen | self._options).items():
            run += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                run,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing else can ask for it
                **self._common(),
            )

    def _common(self) -> dict[str, Any]:
        return {"env": {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, "cwd": "/", **self._identity}


@contextmanager
def own_postgres(**options: str) -> Iterator[Postgres]:
    """A server that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="twinauth-pg-"))
    server: Postgres | None = None
    try:
        server = Postgres(folder, options)
        yield server
    finally:
        if server is not None:
            server.go_on()
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _count(connection: psycopg.Connection[Any], condition: LiteralString) -> int:
    row = connection.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}").fetchone()
    assert row is not None
    return int(row[0])


def _is_read_only(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SHOW default_transaction_read_only").fetchone()
    return row == ("on",)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
