"""PgBouncer before a PostgreSQL server, as ``deploy/lab/pgbouncer.ini`` has it but for names, ports and the size."""

from __future__ import annotations

import configparser
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import URL, make_url

from tests.support.postgres import _die_with_parent, _usable_by_owner, free_port
from tests.support.programs import program
from tests.support.servers import START_SECONDS, STOP_SECONDS, eventually, listens

SHIPPED = Path(__file__).parents[2] / "deploy" / "lab" / "pgbouncer.ini"
HOST = "127.0.0.1"
SERVER_CONNECTIONS = 3


@contextmanager
def pooling(server: str) -> Iterator[str]:
    """The URL of a database as it is reached through PgBouncer, which has a few connections to its server."""
    binary, url, port = program("pgbouncer", package="pgbouncer"), make_url(server), free_port()
    folder = Path(tempfile.mkdtemp(prefix="twinauth-pgbouncer-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        _, identity = _usable_by_owner(binary, folder)  # it will not run as root either
        _configure(folder, url, port)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [binary, "pgbouncer.ini"],
                cwd=folder,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing else can ask for it
                **identity,
            )
        if not eventually(partial(listens, port), START_SECONDS):
            raise RuntimeError((folder / "log").read_text())
        yield url.set(host=HOST, port=port).render_as_string(hide_password=False)
    finally:
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, url: URL, port: int) -> None:
    settings = configparser.ConfigParser(comment_prefixes=(";", "#"), interpolation=None)
    settings.read_string(SHIPPED.read_text())
    settings["databases"] = {str(url.database): f"host={url.host} port={url.port} dbname={url.database}"}
    settings["pgbouncer"].update(
        listen_port=str(port), default_pool_size=str(SERVER_CONNECTIONS), stats_users=str(url.username)
    )
    with (folder / "pgbouncer.ini").open("w") as file:
        settings.write(file)
    (folder / "userlist.txt").write_text(f'"{url.username}" "{url.password}"\n')


def ask(url: str, question: Any) -> list[dict[str, Any]]:
    """Ask a server that speaks PostgreSQL's protocol, as a client that prepares nothing."""
    parameters = make_url(url).translate_connect_args(username="user", database="dbname")
    with psycopg.connect(**parameters, autocommit=True, prepare_threshold=None, row_factory=dict_row) as connection:
        return connection.execute(question).fetchall()


def console(pooled: str, question: str) -> list[dict[str, Any]]:
    """Return what PgBouncer says of our database."""
    url = make_url(pooled)
    rows = ask(url.set(database="pgbouncer").render_as_string(hide_password=False), question)
    return [row for row in rows if row["database"] == url.database]
