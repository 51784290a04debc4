"""Clients from three generators work at both doors as they come, and linters find nothing in the document."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import invoked
from tests.support.mail import token_in
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, FRAMEWORKS, ROOT, START_SECONDS, Server, eventually, run_command, running

FOLDER = Path(__file__).parent
MODULES = ROOT / "build" / "clients" / "node_modules"
SECONDS = 120
EMAIL = "ann@example.com"


@pytest.fixture(scope="module")
def node() -> str:
    """Node, and what the lock names."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node: apt-get install nodejs npm, then make clients")
    if not MODULES.is_dir():
        pytest.skip("the linters and generators for Node are not here: make clients")
    return found


@pytest.fixture(scope="module")
def python_generator() -> str:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = shutil.which("openapi-python-client", path=path)
    if found is None:
        pytest.skip("no openapi-python-client beside this Python or on the search path")
    return found


@dataclass(frozen=True)
class Door:
    """A door whose public URL is its own address, as clients take it from the document."""

    server: Server
    folder: Path
    client: tuple[str, str]
    """Id and secret of a registered client."""

    def token_of_reset(self) -> str:
        read = invoked(self.folder, "mail", "read", EMAIL, "--kind", "password_reset", "--wait", "20")
        assert read.returncode == 0, read.stderr
        return token_in(read.stdout)


@pytest.fixture(params=FRAMEWORKS)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    with _serving(request.param, tmp_path) as server:
        made = run_command(tmp_path, "clients", "create", "orders", "--scope", "orders:read")
        _, client_id, _, secret = made.stdout.split()
        (tmp_path / "openapi.json").write_bytes(server.api.get("/openapi.json").body)
        yield Door(server, tmp_path, (client_id, secret))


@contextmanager
def _serving(framework: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    arguments = ("serve", "--framework", framework, "--port", str(port))
    with running(folder, *arguments, AUTH_PUBLIC_URL=f"http://127.0.0.1:{port}", **CHEAP) as process:
        server = Server(framework, port, process)
        assert eventually(server.is_ready, START_SECONDS), process.printed()
        yield server


def run(folder: Path, *command: str) -> str:
    """Run a program in a folder and return what it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CI": "true", "REDOCLY_TELEMETRY": "off"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment | {"REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def module(name: str) -> str:
    """A program that the lock brings."""
    return str(MODULES / ".bin" / name)


def walk(door: Door, *journey: str) -> None:
    """A user signs up, logs in, refreshes, and resets the password; a client gets a token."""
    url = door.server.url
    run(door.folder, *journey, "begin", url, EMAIL, *door.client)
    run(door.folder, *journey, "end", url, EMAIL, door.token_of_reset())


@pytest.mark.usefixtures("node")
def test_redocly_and_spectral_find_nothing(tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(run_command(tmp_path, "openapi").stdout)
    rules = str(FOLDER / "redocly.yaml")
    said = run(tmp_path, module("redocly"), "lint", str(document), "--config", rules)
    assert "Your API description is valid" in said
    assert "warning" not in re.sub(r"Deprecation warning: Node", "", said)
    rules = str(FOLDER / ".spectral.yaml")
    run(tmp_path, module("spectral"), "lint", str(document), "--ruleset", rules, "--fail-severity", "hint")


def test_a_python_client_works_as_it_was_generated(door: Door, python_generator: str) -> None:
    generated = door.folder / "generated"
    arguments = ("generate", "--path", "openapi.json", "--output-path", str(generated), "--meta", "none")
    said = run(door.folder, python_generator, *arguments)
    warnings = re.findall(r"^WARNING parsing (.*?)[.]?$", said, re.MULTILINE)
    assert warnings == ["GET /v1/revocations within discovery"], said  # the reason is in the README
    shutil.copy(FOLDER / "journey.py", door.folder)
    walk(door, sys.executable, "journey.py")


@pytest.fixture
def typescript(door: Door) -> Path:
    """The folder of a door, with what TypeScript needs."""
    (door.folder / "node_modules").symlink_to(MODULES)
    (door.folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(FOLDER / "tsconfig.json", door.folder)
    return door.folder


def test_a_client_with_the_types_of_openapi_typescript_works(door: Door, node: str, typescript: Path) -> None:
    run(typescript, module("openapi-typescript"), "openapi.json", "-o", "schema.d.ts")
    shutil.copy(FOLDER / "journey_fetch.ts", typescript)
    run(typescript, module("tsc"), "-p", ".")
    walk(door, node, "out/journey_fetch.js")


def test_a_client_of_hey_api_works_as_it_was_generated(door: Door, node: str, typescript: Path) -> None:
    for name in ("openapi-ts.config.js", "journey_hey.ts"):
        shutil.copy(FOLDER / name, typescript)
    run(typescript, module("openapi-ts"), "--file", "openapi-ts.config.js")
    run(typescript, module("tsc"), "-p", ".")
    walk(door, node, "out/journey_hey.js")
