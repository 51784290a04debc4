"""The guides, run as they stand."""

from __future__ import annotations

import os
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
