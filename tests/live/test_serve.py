"""`twinauth serve`: where it listens, what it says, when it starts again, and that it leaves nobody behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.faults.processes import family_of, lives
from servers.stopping import HURRY, ONE_SIGNAL
from tests.support.live import Figures, hanging
from tests.support.postgres import free_port
from tests.support.servers import (
    CHEAP,
    FRAMEWORKS,
    HOST,
    ROOT,
    START_SECONDS,
    Process,
    Server,
    command,
    environment,
    eventually,
    run_command,
    running,
    serving,
)

GONE_SECONDS = 10


@dataclass(frozen=True)
class Both:
    """Both doors under one parent."""

    process: Process
    servers: tuple[Server, ...]

    def is_ready(self) -> bool:
        return all(server.is_ready() for server in self.servers)

    def is_gone(self) -> bool:
        """Whether nobody listens where the doors were, so that the next start finds its ports."""
        return all(is_free(server.port) for server in self.servers)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextmanager
def serving_both(folder: Path, *options: str, **settings: str) -> Iterator[Both]:
    ports = {name: free_port() for name in FRAMEWORKS}
    chosen = [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]
    with running(folder, "serve", *chosen, *options, **CHEAP | settings) as process:
        both = Both(process, tuple(Server(name, port, process) for name, port in ports.items()))
        assert eventually(both.is_ready, START_SECONDS), process.printed()
        yield both


def says_where(both: Both) -> bool:
    lines = [line for line in both.process.printed().splitlines() if "[access]" not in line]
    return lines == [
        f"FastAPI  {both.servers[0].url}/docs",
        f"Flask    {both.servers[1].url}/docs",
        "Mail     is shown here, and by `twinauth mail`",
        "Ctrl-C   stops both",
    ]


def test_it_says_where_and_how_to_stop_and_nothing_else(tmp_path: Path, figures: Figures) -> None:
    """The first time, when it makes the database, and the second."""
    started = time.monotonic()
    with serving_both(tmp_path) as both:
        figures(f"both doors answer {time.monotonic() - started:.2f} s after the start")
        assert says_where(both), both.process.printed()
        held = [sockets_of(process) for process in family_of(both.process.popen.pid)[1:]]
        listening = listeners(*(server.port for server in both.servers))
        assert max(len(sockets & listening) for sockets in held) == 1, "a door holds no other's listener"
        os.killpg(both.process.popen.pid, signal.SIGHUP)  # as the kernel does to all that a terminal was closed over
        assert both.process.wait() == 0
        assert both.process.leaves_nothing_behind()
        assert "Traceback" not in both.process.printed()
        assert both.is_gone()
    with serving_both(tmp_path) as both:
        assert says_where(both), both.process.printed()
        (door, *_) = [process for process in family_of(both.process.popen.pid)[1:] if is_door(process)]
        os.kill(door, signal.SIGKILL)
        assert both.process.wait() != 0, "with one door gone, a pair is no pair"
        assert both.process.leaves_nothing_behind()


@pytest.mark.parametrize("framework", ["both", *FRAMEWORKS])
def test_a_port_that_is_taken_is_told_with_who_has_it(framework: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        option = "--flask-port" if framework == "both" else f"--{framework}-port"
        done = run_command(tmp_path, "serve", "--framework", framework, option, str(port))
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    holder = f"{name} (process {os.getpid()})"
    assert done.returncode == 1
    assert done.stderr == f"Error: {HOST}:{port} is taken by {holder}; choose another port with {option}\n"
    assert done.stdout == ""


def test_make_hands_the_ports_on() -> None:
    line = ["make", "-n", "serve", "FASTAPI_PORT=8010", "FLASK_PORT=5010"]
    said = subprocess.run(line, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert "--framework both --fastapi-port 8010 --flask-port 5010" in said


def copied(folder: Path) -> Path:
    """The code, where a test may change it."""
    for name in ("core", "api_fastapi", "api_flask", "servers", "cli", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_changed_code_is_served_at_both_doors_which_end_with_their_parent(tmp_path: Path) -> None:
    """Code of the core, which a server that forks would have imported by then; and after an error in it as well."""
    code, folder = copied(tmp_path / "code"), tmp_path / "data"
    folder.mkdir()
    changed = code / "core" / "http" / "openapi.py"
    text = changed.read_text()

    def titles() -> set[str]:
        try:
            return {server.api.get("/openapi.json").json["info"]["title"] for server in both.servers}
        except OSError:
            return set()

    with serving_both(folder, "--reload", PYTHONPATH=str(code)) as both:
        (title,) = titles()
        changed.write_text("this is no code")
        assert eventually(lambda: "SyntaxError" in both.process.printed(), START_SECONDS)
        changed.write_text(text.replace(f'"{title}"', '"Changed"'))
        assert eventually(lambda: titles() == {"Changed"}, START_SECONDS), both.process.printed()
        family = family_of(both.process.popen.pid)
        assert len(family) > len(FRAMEWORKS)
        both.process.kill()  # as the kernel kills that has no memory left
        assert eventually(lambda: not any(lives(process) for process in family), GONE_SECONDS)
        assert both.is_gone()


def test_workers_end_with_their_master(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, options=["--workers", "2"], **CHEAP) as (server,):
        family = family_of(server.process.popen.pid)
        server.process.kill()
        assert eventually(lambda: not any(lives(process) for process in family), GONE_SECONDS)
        assert is_free(server.port)


def test_a_closed_terminal_ends_a_door_alone(tmp_path: Path) -> None:
    """To gunicorn itself, SIGHUP is an operator's who asks to reload."""
    port = free_port()
    ours, terminal = pty.openpty()
    line = command("serve", "--framework", "flask", "--port", str(port))
    process = subprocess.Popen(
        line,
        cwd=tmp_path,
        env=environment(tmp_path, **CHEAP),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else does it
    )
    try:
        os.close(terminal)
        assert eventually(lambda: b"stops it" in os.read(ours, 4096), START_SECONDS)
        assert eventually(lambda: answers(port), START_SECONDS)
        family = family_of(process.pid)
        os.close(ours)
        process.wait(GONE_SECONDS)
        assert eventually(lambda: not any(lives(member) for member in family), GONE_SECONDS)
        assert is_free(port)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), 1) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def test_a_door_without_a_terminal_goes_on_after_what_operators_send(framework: str, tmp_path: Path) -> None:
    """`systemctl reload` and logrotate."""
    with serving(tmp_path, framework, **CHEAP) as (server,):
        for number in (signal.SIGUSR1, signal.SIGHUP):
            server.process.popen.send_signal(number)
            time.sleep(0.5)
            assert eventually(server.is_ready, START_SECONDS)
        assert server.process.popen.poll() is None


def test_what_operators_send_ends_no_worker_and_no_parent(framework: str, tmp_path: Path) -> None:
    """`pkill -HUP`, and a logrotate that names every process: without a handler, either signal ends a process."""
    with serving(tmp_path, framework, options=["--workers", "2"], **CHEAP) as (server,):
        parent = server.process.popen.pid
        # Until it has begun, a worker is a process of Python like any other, which both signals end.
        assert eventually(lambda: len([one for one in workers_of(parent) if minds_signals(one)]) == 2, START_SECONDS)
        workers = workers_of(parent)
        for number, processes in ((signal.SIGUSR1, [parent, *workers]), (signal.SIGHUP, workers)):
            for process in processes:
                os.kill(process, number)
            time.sleep(1.5)  # longer than either parent takes to replace a worker that has ended
            assert (server.process.popen.poll(), workers_of(parent)) == (None, workers)
        os.kill(parent, signal.SIGHUP)  # both begin workers anew
        assert eventually(lambda: len(workers_of(parent)) == 2 and server.is_ready(), START_SECONDS)
        assert server.process.popen.poll() is None


def minds_signals(process: int) -> bool:
    """Whether a process ignores or handles what operators send."""
    fields = dict(
        line.split(":\t") for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":\t" in line
    )
    minded = int(fields["SigIgn"], 16) | int(fields["SigCgt"], 16)
    return all(minded >> (number - 1) & 1 for number in (signal.SIGHUP, signal.SIGUSR1))


def workers_of(parent: int) -> list[int]:
    """The processes that serve; Python keeps one beside them for what they share, which serves nothing."""
    return [child for child in family_of(parent)[1:] if b"resource_tracker" not in command_of(child)]


def test_signals_reach_both_doors(tmp_path: Path) -> None:
    """One that comes by two ways lets requests finish; a second one does not wait for them."""
    file = tmp_path / "app.db"
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{file}", "AUTH_DATABASE_TIMEOUT": "60"}
    with serving_both(tmp_path, **settings) as both:
        with hanging(file, *(server.port for server in both.servers)):
            os.killpg(both.process.popen.pid, signal.SIGINT)  # as a terminal does: to the whole group
            with pytest.raises(subprocess.TimeoutExpired):
                both.process.wait(max(HURRY, ONE_SIGNAL) + 1)
            both.process.terminate()
            told = time.monotonic()
            assert both.process.wait() == 0
            assert time.monotonic() - told < HURRY + 5
        assert both.process.leaves_nothing_behind()


def is_door(process: int) -> bool:
    return bool(re.search(rb"--framework\0", command_of(process)))


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def sockets_of(process: int) -> set[str]:
    return {str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir()}


def listeners(*ports: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) in ports}
