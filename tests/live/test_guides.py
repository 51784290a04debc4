"""The guides, run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

from tests.support.documents import blocks
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, HOST, ROOT, environment, eventually, listens, running

GUIDES = ROOT / "docs" / "guides"
EXTRAS = tomllib.loads((ROOT / "verifier" / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_a_service_is_protected_as_its_guide_says(name: str, tmp_path: Path) -> None:
    guide = (GUIDES / f"protect-a-{name}-service.md").read_text()
    issuer, service = free_port(), free_port()

    def here(text: str) -> str:
        twinauth = f"{shlex.quote(sys.executable)} -m cli.main"
        return text.replace(":8000", f":{issuer}").replace("7000", str(service)).replace(".venv/bin/twinauth", twinauth)

    (code,) = blocks(guide, "python")
    install, run, walk = blocks(guide, "sh")
    assert install.startswith(f"pip install './verifier[{name}]' {shlex.split(run)[0]} "), "nobody publishes it"
    assert name in EXTRAS
    (tmp_path / "orders.py").write_text(here(code))
    settings = {**CHEAP, "AUTH_PUBLIC_URL": f"http://{HOST}:{issuer}"}
    env = environment(tmp_path, **settings)
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
    with running(tmp_path, "serve", "--framework", "fastapi", "--port", str(issuer), **settings):
        assert eventually(partial(listens, issuer), 20)
        orders = subprocess.Popen(shlex.split(here(run)), cwd=tmp_path, env=env)
        try:
            assert eventually(partial(listens, service), 20)
            told = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", here(walk)],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        finally:
            orders.terminate()
            orders.wait(20)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["401", "200", "403", "401"]


@pytest.mark.parametrize("name", ["fastapi", "flask"])
def test_a_door_is_mounted_in_an_application_as_its_guide_says(name: str, tmp_path: Path) -> None:
    guide = (GUIDES / "embed.md").read_text()
    port = free_port()

    def here(text: str) -> str:
        twinauth = f"{shlex.quote(sys.executable)} -m cli.main"
        return text.replace(":7000", f":{port}").replace("7000", str(port)).replace(".venv/bin/twinauth", twinauth)

    prepare, *runs, walk = blocks(guide, "sh")
    code, run = dict(zip(("fastapi", "flask"), zip(blocks(guide, "python"), runs, strict=True), strict=True))[name]
    (install, *prepare_lines) = prepare.splitlines()
    assert install.startswith("pip install '.[fastapi,flask,docs]'")
    (tmp_path / "shop.py").write_text(here(code))
    env = environment(tmp_path, **CHEAP)
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))

    def shell(text: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", here("\n".join([*prepare_lines, text]))]

    server = subprocess.Popen(shell(f"exec {run}"), cwd=tmp_path, env=env)
    try:
        assert eventually(partial(listens, port), 30)
        told = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here(walk)],
            cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        server.terminate()
        assert server.wait(30) in (0, -15)
    assert told.returncode == 0, told.stderr
    expected = re.findall(r"^status .*# ([0-9]{3})$", walk, re.MULTILINE)
    assert told.stdout.split() == expected
    assert len(expected) == 7
