"""The guide for programs that ask, each block run as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.api import EMAIL
from tests.support.client_libraries import Issuer
from tests.support.documents import blocks
from tests.support.programs import program
from tests.support.servers import HOST, ROOT

GUIDE = (ROOT / "docs" / "guides" / "clients.md").read_text(encoding="utf-8")
LONG_ENOUGH = 60  # seconds


def here(block: str, issuer: Issuer) -> str:
    """A block with the addresses of this test in it."""
    return block.replace("http://127.0.0.1:8000", issuer.url)


def printed(issuer: Issuer, folder: Path, *command: str | Path) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "CLIENT_ID": issuer.client_id,
        "CLIENT_SECRET": issuer.client_secret,
        "AUTHLIB_INSECURE_TRANSPORT": "1",
    }
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LONG_ENOUGH
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_curl_logs_in(issuer: Issuer, tmp_path: Path) -> None:
    bash = program("bash", package="bash")
    signup, login = blocks(GUIDE, "sh")
    told = printed(issuer, tmp_path, bash, "-euo", "pipefail", "-c", here(signup, issuer))
    assert "email_taken" in told, "the account is there"
    assert f'"email":"{EMAIL}"' in printed(issuer, tmp_path, bash, "-euo", "pipefail", "-c", here(login, issuer))


@pytest.mark.parametrize(("number", "told"), [(0, EMAIL), (1, EMAIL), (2, "orders:read")])
def test_python_asks(issuer: Issuer, tmp_path: Path, number: int, told: str) -> None:
    assert printed(issuer, tmp_path, sys.executable, "-c", here(blocks(GUIDE, "python")[number], issuer)) == told


def test_node_asks(issuer: Issuer, tmp_path: Path) -> None:
    node = program("node", package="nodejs")
    (block,) = blocks(GUIDE, "js")
    (tmp_path / "ask.mjs").write_text(here(block, issuer))
    assert printed(issuer, tmp_path, node, "ask.mjs") == EMAIL


def test_a_page_of_another_origin_asks(issuer: Issuer, tmp_path: Path) -> None:
    chromium = program("chromium", "google-chrome", package="chromium")
    (block,) = blocks(GUIDE, "html")
    (tmp_path / "page.html").write_text(here(block, issuer), encoding="utf-8")
    assert f"AUTH_CORS_ORIGINS=http://{HOST}:3000" in GUIDE
    with serving_pages(tmp_path, issuer.page_port):
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        page = f"http://{HOST}:{issuer.page_port}/page.html"
        shown = printed(issuer, tmp_path, chromium, *flags, profile, "--virtual-time-budget=10000", "--dump-dom", page)
    assert f"<p>{EMAIL}</p>" in shown


@contextmanager
def serving_pages(folder: Path, port: int) -> Iterator[None]:
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer((HOST, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""
