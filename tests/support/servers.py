"""Real servers for tests: started through the command line on free ports, and each ended by its own process id."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from core.app import AuthApp
from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.drivers import Answer, LiveDriver
from tests.support.postgres import free_port

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
FRAMEWORKS = ("fastapi", "flask")
# The throttle counts, as everywhere, and what it allows is more than any test asks for: a crowd at one address.
AMPLE = {
    "AUTH_THROTTLE_ACCOUNT": "1000",
    "AUTH_THROTTLE_BLOCK": "100000",
    "AUTH_THROTTLE_STRANGERS": "100000",
    "AUTH_THROTTLE_SIGNUPS": "100000",
    "AUTH_THROTTLE_MAIL": "100000",
}
# As cheap as a test needs it, and as often.
CHEAP = {"AUTH_PASSWORD_BCRYPT_COST": "4", **AMPLE}

# Bounds, not waits: what takes longer than this on a loaded machine does not come any more.
START_SECONDS = 30
STOP_SECONDS = 30
ANSWER_SECONDS = 30


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing of the one who runs the tests but the search path, and the code that stands beside the tests."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    return base | {"AUTH_DATA_DIR": str(folder / "data")} | settings


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def run_command(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )


@dataclass(frozen=True)
class Process:
    """A command that goes on, in a process group of its own, so that what it leaves behind can be seen."""

    popen: subprocess.Popen[bytes]
    output: Path

    def printed(self) -> str:
        """What it wrote so far, to stdout and stderr."""
        return self.output.read_text(encoding="utf-8")

    def terminate(self) -> None:
        self.popen.terminate()

    def kill(self) -> None:
        """End it as a power cut would: it has no say in it."""
        self.popen.kill()
        self.popen.wait(STOP_SECONDS)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on.

        """
        return self.popen.wait(seconds)

    def leaves_nothing_behind(self) -> bool:
        """Whether no process of its group is left; to be asked when it has ended."""
        return eventually(lambda: not _group_exists(self.popen.pid), STOP_SECONDS)

    def stop(self) -> None:
        """End it and what it started, gently first."""
        self.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[Process]:
    """A command in the background, ended at the end."""
    output = folder / f"output-{secrets.token_hex(4)}"
    with output.open("wb") as file:
        process = Process(_spawn(folder, command(*arguments), environment(folder, **settings), file), output)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def relaying(folder: Path, **settings: str) -> Iterator[Process]:
    """A relay in a process of its own, at work."""
    with running(folder, "relay", **settings) as process:

        def is_at_work() -> bool:
            if process.popen.poll() is not None:
                raise RuntimeError(f"the relay ended: {process.printed()}")
            return "The relay is running." in process.printed()

        if not eventually(is_at_work, START_SECONDS):
            raise RuntimeError(f"the relay does not begin: {process.printed()}")
        yield process


def api_of(url: str) -> Api:
    """The API of a server; what lies behind it is in another process, so there is none of it."""
    return Api(LiveDriver(url), cast("AuthApp", None), FakeClock())


@dataclass(frozen=True)
class Server:
    """A front door in a process of its own."""

    framework: str
    port: int
    process: Process
    host: str = HOST

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def api(self) -> Api:
        """The API behind the connection."""
        return api_of(self.url)

    def is_ready(self) -> bool:
        """Whether it answers `/readyz` with 200."""
        if self.process.popen.poll() is not None:
            raise RuntimeError(f"{self.framework} ended: {self.process.printed()}")
        try:
            return self.api.get("/readyz").status == 200
        except OSError:
            return False

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), ANSWER_SECONDS)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and read until the server closes or resets the connection."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):  # it may answer and close before it has read everything
                connection.sendall(request)
            received = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    received += part
        return received


@contextmanager
def serving(
    folder: Path, *frameworks: str, options: Sequence[str] = (), **settings: str
) -> Iterator[tuple[Server, ...]]:
    """Front doors over one database, started at the same moment, each ready to answer."""
    with ExitStack() as stack:
        servers = []
        for framework in frameworks:
            port = free_port()
            arguments = ("serve", "--framework", framework, "--port", str(port), *options)
            servers.append(Server(framework, port, stack.enter_context(running(folder, *arguments, **settings))))
        for server in servers:
            if not eventually(server.is_ready, START_SECONDS):
                raise RuntimeError(f"{server.framework} is not ready: {server.process.printed()}")
        yield tuple(servers)


def parsed(raw: bytes) -> Answer:
    """The one answer in what a server sent before it closed the connection; the body is what follows its headers."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status_line, *fields = head.decode("latin-1").split("\r\n")
    pairs = (field.partition(":") for field in fields)
    return Answer(int(status_line.split(" ")[1]), [(name, value.strip()) for name, _, value in pairs], body)


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _spawn(folder: Path, line: Sequence[str], env: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        line,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
