"""OAuth as client libraries of Node speak it; each script beside asks everything of one library."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.client_libraries import OWN, Issuer
from tests.support.programs import program

FOLDER = Path(__file__).parent / "node"


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi", "jose", "express"])
def test_a_library_finds_what_it_expects(issuer: Issuer, library: str) -> None:
    node = program("node", package="nodejs")
    if not (FOLDER / "node_modules" / library).is_dir():
        pytest.skip("no client libraries of Node: make .venv/.node")
    done = subprocess.run(
        [node, f"{library}.mjs"],
        cwd=FOLDER,
        env={
            "PATH": os.environ["PATH"],
            "ISSUER": issuer.url,
            "AUDIENCE": OWN,
            "CLIENT_ID": issuer.client_id,
            "CLIENT_SECRET": issuer.client_secret,
            "EMAIL": issuer.email,
            "PASSWORD": issuer.password,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
