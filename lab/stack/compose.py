"""The stack, brought up by Docker Compose under a name and on ports of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.api import Api
from tests.support.clock import FakeClock
from tests.support.drivers import LiveDriver
from tests.support.postgres import free_port
from tests.support.servers import HOST, ROOT

PROJECT = "twinauth-test"
UP_SECONDS = 900  # with both images to build
FILES = ("docker-compose.yml", "deploy/compose/test.yml")
DOORS = {"fastapi": "api-fastapi", "flask": "api-flask"}


@dataclass
class Stack:
    """A stack that runs."""

    folder: Path
    """Where its secrets are kept for whoever tests it."""
    ports: dict[str, int] = field(
        default_factory=lambda: {name: free_port() for name in ("TWINAUTH_PORT", "MAILPIT_PORT", "POSTGRES_PORT")}
    )

    @property
    def url(self) -> str:
        """Of the proxy."""
        return f"http://{HOST}:{self.ports['TWINAUTH_PORT']}"

    @property
    def mail_url(self) -> str:
        """Of the mail catcher's API."""
        return f"http://{HOST}:{self.ports['MAILPIT_PORT']}"

    @property
    def environment(self) -> dict[str, str]:
        """What `.env` would say: which files it is made of, its name and its ports."""
        made_of = {"COMPOSE_PROJECT_NAME": PROJECT, "COMPOSE_FILE": ":".join(FILES), "TWINAUTH_URL": self.url}
        return made_of | {name: str(port) for name, port in self.ports.items()}

    @property
    def api(self) -> Api:
        return Api(LiveDriver(self.url), None, FakeClock())  # type: ignore[arg-type]  # what lies behind it is elsewhere

    @property
    def database_url(self) -> str:
        return (self.folder / "database_url").read_text()

    def up(self, *arguments: str, **settings: str) -> None:
        """Bring it up, or to other settings, and wait until all is well."""
        self.compose("up", "-d", "--build", "--wait", *arguments, seconds=UP_SECONDS, **settings)

    def compose(self, *arguments: str, seconds: float = 120, **settings: str) -> str:
        """Run a command of Docker Compose."""
        return docker("compose", *arguments, seconds=seconds, environment=self.environment | settings)

    def split(self, percent: int) -> None:
        """Let the Flask door have this share."""
        self.compose("exec", "-T", "proxy", "/bin/sh", "/etc/twinauth/split", str(percent))

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What the engine knows of the service's containers."""
        ids = self.compose("ps", "-aq", service).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids))
        return found

    def addresses(self, service: str) -> list[str]:
        """Of each of its containers on the network of the proxy."""
        return [
            found["NetworkSettings"]["Networks"][f"{PROJECT}_front"]["IPAddress"] for found in self.containers(service)
        ]

    def logs(self, container: str) -> str:
        """All that it wrote, to stdout and to stderr."""
        return docker("logs", container, stderr=subprocess.STDOUT)

    def read_secret(self, name: str) -> str:
        """Return one of the service's secrets, from their volume."""
        path = f"/run/twinauth/{name}"
        return self.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "secrets", path)

    def take_secrets(self) -> None:
        """Read the secrets out of their volume; the database is reached from here by another address."""
        for name in ("secret_key", "database_url"):
            content = self.read_secret(name)
            reached = content.replace("@postgres:5432/", f"@{HOST}:{self.ports['POSTGRES_PORT']}/")
            (self.folder / name).write_text(reached)


def docker(
    *arguments: str,
    seconds: float = 120,
    stderr: int = subprocess.PIPE,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """What the command prints.

    Raises:
        AssertionError: it fails; what it said is in the text.

    """
    done = subprocess.run(
        ["docker", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{(done.stderr or '')[-4000:]}"
    return done.stdout


@contextmanager
def standing(folder: Path) -> Iterator[Stack]:
    """A stack from nothing, of which nothing is left at the end."""
    stack = Stack(folder)
    try:
        stack.up()
        stack.take_secrets()
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")
