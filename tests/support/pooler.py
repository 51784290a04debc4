"""PgBouncer before a PostgreSQL server, as ``deploy/lab/pgbouncer.ini`` has it but for names, ports and the size."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url

from tests.support.postgres import _die_with_parent, _usable_by_owner, free_port
from tests.support.servers import START_SECONDS, STOP_SECONDS, eventually

SHIPPED = Path(__file__).parents[1] / "deploy" / "lab" / "pgbouncer.ini"
HOST = "127.0.0.1"
SERVER_CONNECTIONS = 3


def pgbouncer() -> Path:
    """The binary; without one, the test is skipped, and says so."""
    # Debian's stands where only administrators look.
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no pgbouncer: apt-get install pgbouncer")
    return Path(found)


@contextmanager
def pooling(server: str) -> Iterator[str]:
    """The URL of a database as it is reached through PgBouncer, which has a few connections to its server."""
    binary, url, port = pgbouncer(), make_url(server), free_port()
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
        if not eventually(partial(_listens, port), START_SECONDS):
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


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
