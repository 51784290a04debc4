"""``twinauth serve``: one front door in this process, or both as children of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from cli.stopping import leave_in_peace

if TYPE_CHECKING:  # the parent of both doors needs none of it
    from core.settings.whole import Settings

HOST = "127.0.0.1"
PORTS = {"fastapi": 8000, "flask": 5000}
NAMES = {"fastapi": "FastAPI", "flask": "Flask"}
_INCLUDE_HOST = ("localhost", "0.0.0.0")  # noqa: S104 - what it is compared with


@click.command()
@click.option("--framework", type=click.Choice(["both", *PORTS]), default="both", show_default=True)
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of a single front door; 8000 and 5000 by default.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes a front door.")
@click.option("--reload", is_flag=True, help="Start again when the code changes.")
@click.option("--quiet", is_flag=True, help="Do not say where it serves.")
def serve(framework: str, host: str, port: int | None, workers: int, *, reload: bool, quiet: bool) -> None:
    """Serve the API."""
    if framework == "both":
        if port is not None:
            raise click.UsageError("--port goes with --framework fastapi or flask")
        _serve_both(host, workers, reload=reload)
    _serve_one(framework, host, port or PORTS[framework], workers, reload=reload, quiet=quiet)


def _serve_one(framework: str, host: str, port: int, workers: int, *, reload: bool, quiet: bool) -> None:
    _require_free(host, port)
    # Imported here and apart: the parent of both doors needs none of it, and one door not the other's server.
    found = import_module("cli.preparation").prepare(workers)
    if not quiet and found.logging.format == "console":
        _say_where(framework, host, port, docs=found.http.docs)
        if address := links_lead_past(found, host, port):
            click.echo(
                f"Links in mail lead to {found.http.public_url}; if nothing serves there, set AUTH_PUBLIC_URL={address}"
            )
    import_module(f"cli.{framework}_server").serve(host, port, workers, reload=reload)


@dataclass(slots=True)
class _Child:
    framework: str
    port: int
    process: subprocess.Popen[bytes]

    def is_up(self, host: str) -> bool:
        """Whether it listens."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            return probe.connect_ex((host, self.port)) == 0


def _serve_both(host: str, workers: int, *, reload: bool) -> NoReturn:
    for port in PORTS.values():
        _require_free(host, port)
    found = import_module("cli.plain").settings()  # a mistake is told once, and not by each child
    children = [_Child(name, port, _spawn(name, host, port, workers, reload=reload)) for name, port in PORTS.items()]
    told: list[int] = []  # not an event, whose lock a handler may find held by another handler

    def stop(number: int, _frame: FrameType | None) -> None:
        # Each signal is passed on. A terminal sends Ctrl-C to the children as well: to them the two are one.
        told.append(number)
        for child in children:
            child.process.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        _announce(host, children, docs=found.http.docs)
        _wait_for_one(children)
    finally:
        if not told:  # or it would be a second signal to the one that still has something to finish
            stop(signal.SIGTERM, None)
    code = max(abs(child.process.wait()) for child in children)
    leave_in_peace()
    sys.exit(code)


def _spawn(framework: str, host: str, port: int, workers: int, *, reload: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cli.main", "serve", "--framework", framework, "--host", host]
    command += ["--quiet", "--port", str(port), "--workers", str(workers), *(["--reload"] if reload else [])]
    return subprocess.Popen(command)  # noqa: S603 - our own arguments


def _announce(host: str, children: list[_Child], *, docs: bool) -> None:
    """Say where each door is, once it is open."""
    waiting = list(children)
    while waiting and all(child.process.poll() is None for child in children):
        for child in [child for child in waiting if child.is_up(host)]:
            waiting.remove(child)
            _say_where(child.framework, host, child.port, docs=docs)
        time.sleep(0.02)


def _say_where(framework: str, host: str, port: int, *, docs: bool) -> None:
    click.echo(f"{NAMES[framework]:8} {_address(host, port)}{'/docs' if docs else ''}")


def links_lead_past(found: Settings, host: str, port: int) -> str | None:
    """The address of a door that links in mail do not lead to; None where they do, or where the operator has chosen.

    The public URL is the issuer of tokens as well. So it does not follow the port by itself: two doors in two terminals
    would refuse each other's tokens.
    """
    if "public_url" in found.http.model_fields_set:
        return None
    address = _address(HOST if host in _INCLUDE_HOST else host, port)
    return None if address == found.http.public_url else address


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _wait_for_one(children: list[_Child]) -> None:
    """Return when a child ends: with one door gone, the pair is no pair."""
    while all(child.process.poll() is None for child in children):
        time.sleep(0.1)


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
