"""The walk through the README, run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.programs import program
from tests.support.servers import FRAMEWORKS, ROOT, START_SECONDS, Server, command, environment, serving

README = ROOT / "README.md"
PORTS = {"fastapi": 8000, "flask": 5000}
TWINAUTH = ".venv/bin/twinauth"


def walk() -> str:
    """The shell block under the heading `Try it`."""
    chapter = re.search(r"^## Try it\n(.*?)(?=^## |\Z)", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert chapter, "README.md has no chapter '## Try it'"
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter[1], re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, "the chapter 'Try it' of README.md has one ```sh block"
    commands = str(blocks[0])
    for needed in ("curl", TWINAUTH, *(f"http://127.0.0.1:{port}" for port in PORTS.values())):
        assert needed in commands, f"the walk in README.md does not use {needed}"
    return commands


def answered(server: Server) -> list[tuple[str, str, int]]:
    """What a server was asked, and how it answered."""
    lines = [json.loads(line) for line in server.process.printed().splitlines()]
    requests = [line for line in lines if line["logger"] == "access" and line["path"] != "/readyz"]
    return [(line["method"], line["path"], line["status"]) for line in requests]


def test_readme_walk_leads_through_both_doors_and_the_mail(tmp_path: Path) -> None:
    program("curl", package="curl")
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path / 'walk.db'}", "AUTH_LOG_FORMAT": "json"}
    # The walk says what stands there after `make serve`; here that is the code beside the tests.
    script = walk().replace(TWINAUTH, shlex.join(command()))
    with serving(tmp_path, *FRAMEWORKS, **settings) as servers:
        for server in servers:
            script = re.sub(rf"\b127\.0\.0\.1:{PORTS[server.framework]}\b", f"127.0.0.1:{server.port}", script)
        env = environment(tmp_path)  # with the data folder of the servers, and the mail in it
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            # The walk says python3; here that is the one that runs the tests.
            env={**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=START_SECONDS,
        )
        fastapi, flask = (answered(server) for server in servers)
    assert (done.returncode, done.stderr) == (0, "")
    ids = re.findall(r'"id": ?"([0-9a-f-]{36})"', done.stdout)
    assert len(ids) >= 2
    assert len(set(ids)) == 1
    assert [line for line in done.stdout.splitlines() if re.fullmatch(r"\d{3}", line)] == ["401", "401"]
    assert fastapi == [
        ("POST", "/v1/signup", 201),
        ("POST", "/v1/login", 200),
        ("GET", "/v1/whoami", 200),
        ("POST", "/v1/reset-password", 204),
        ("GET", "/v1/whoami", 401),
    ]
    assert flask == [
        ("GET", "/v1/whoami", 200),
        ("POST", "/v1/send-password-reset", 202),
        ("GET", "/v1/whoami", 401),
        ("POST", "/v1/login", 200),
        ("POST", "/v1/logout", 204),
    ]
