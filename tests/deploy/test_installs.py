"""`requirements/install`, as make runs it: what is missing is said in one line, and what was cut off is made whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.postgres import free_port
from tests.support.servers import HOST, ROOT

SECONDS = 120  # a bound: an environment takes two or three
WHEEL = "tiny-1-py3-none-any.whl"
READ = (
    *("Makefile", "pyproject.toml", "verifier/pyproject.toml"),
    *("requirements/install", "requirements/serve.txt", "requirements/dev.txt"),
)


def tiny_wheel() -> bytes:
    """Return a package of one empty module."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "")
    return content.getvalue()


@dataclass(slots=True)
class Index:
    """An index of that package alone, which can be slow."""

    wheel: bytes = field(default_factory=tiny_wheel)
    port: int = field(default_factory=free_port)
    asked: Event = field(default_factory=Event)
    may_answer: Event = field(default_factory=Event)

    @property
    def lock(self) -> str:
        return f"tiny==1 --hash=sha256:{hashlib.sha256(self.wheel).hexdigest()}\n"

    def answer(self, path: str) -> bytes:
        if not path.endswith(WHEEL):
            return f'<!DOCTYPE html><a href="/{WHEEL}">{WHEEL}</a>'.encode()
        self.asked.set()
        assert self.may_answer.wait(SECONDS)
        return self.wheel


class Handler(BaseHTTPRequestHandler):
    def __init__(self, index: Index, *arguments: object) -> None:
        self.index = index
        super().__init__(*arguments)  # type: ignore[arg-type]  # what the server hands over, untouched

    def do_GET(self) -> None:
        content = self.index.answer(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index()
    with ThreadingHTTPServer((HOST, index.port), partial(Handler, index)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield index
        index.may_answer.set()
        server.shutdown()


@dataclass(frozen=True, slots=True)
class Clone:
    """What make reads of a clone, and the environment that it makes there."""

    folder: Path

    @property
    def packages(self) -> Path:
        return next((self.folder / ".venv" / "lib").glob("python3.*")) / "site-packages"

    def start(self, *command: str, index: int = 9) -> subprocess.Popen[str]:
        """Neither the make that runs the tests nor the machine's settings of pip have a say."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"http://{HOST}:{index}/", "PIP_RETRIES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def given(self, environment: Path) -> None:
        shutil.copytree(environment, self.folder / ".venv", symlinks=True)

    def install(self, index: Index) -> subprocess.Popen[str]:
        command = ("requirements/install", sys.executable, ".venv", "requirements/serve.txt")
        return self.start(*command, index=index.port)

    def complaint(self, *command: str) -> str:
        """Return what a make that fails says, without its own last line."""
        process = self.start(*command)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 2, errors
        *said, where = errors.splitlines()
        assert where.startswith("make: *** "), errors
        return "\n".join(said)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with nothing in it; one costs four seconds of a processor, a copy a tenth."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=SECONDS)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder = tmp_path / "clone"
    for name in READ:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return Clone(folder)


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output + errors


# What is missing


@pytest.mark.parametrize("target", ["serve", "test", "installs"])
def test_an_old_python_is_named(clone: Clone, target: str, tmp_path: Path) -> None:
    old = program(tmp_path / "python3.9", "echo 3.9")
    assert clone.complaint("make", target, f"PYTHON={old}") == (
        f"{old} is Python 3.9, and 3.11 is the oldest that works: name a newer one, as in PYTHON=python3.13."
    )
    assert not (clone.folder / ".venv").exists()


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.10"])
def test_python_before_3_11_is_too_old(clone: Clone, version: str, tmp_path: Path) -> None:
    python = program(tmp_path / "python", f"echo {version}")
    assert f"is Python {version}, and 3.11 is the oldest" in clone.complaint("make", "serve", f"PYTHON={python}")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.20", "4.0"])
def test_python_from_3_11_on_is_not(clone: Clone, version: str, tmp_path: Path) -> None:
    python = program(tmp_path / "python", f'case "$2" in *version*) echo {version} ;; *) exit 1 ;; esac')
    assert "has no modules venv and ensurepip" in clone.complaint("make", "serve", f"PYTHON={python}")


def test_a_missing_python_is_named(clone: Clone) -> None:
    assert clone.complaint("make", "serve", "PYTHON=no-such-python3") == (
        "There is no no-such-python3 to run: install Python 3.11 or newer, or name one with PYTHON=/path/to/python3."
    )


def test_a_python_without_venv_is_told_where_to_get_it(clone: Clone, tmp_path: Path) -> None:
    """As Debian's is until `python3-venv` is installed; its own venv leaves half an environment behind."""
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError")
    python = program(tmp_path / "python3", f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    assert clone.complaint("make", "serve", f"PYTHON={python}") == (
        f"{python} has no modules venv and ensurepip: install them (Debian, Ubuntu: apt-get install python3-venv)."
    )
    assert not (clone.folder / ".venv").exists()


def test_without_a_network_each_make_says_so_and_believes_nothing_done(clone: Clone, bare: Path) -> None:
    clone.given(bare)
    for _ in range(2):
        assert clone.complaint("make", "serve", f"PYTHON={sys.executable}") == (
            "The packages of requirements/serve.txt cannot be fetched: "
            "is there a network, or a mirror or proxy that pip knows of? (.venv/pip.log)"
        )


# What was cut off


def test_an_install_that_was_killed_is_begun_anew_by_the_next(clone: Clone, index: Index, bare: Path) -> None:
    clone.given(bare)
    (clone.folder / "requirements" / "serve.txt").write_text(index.lock)
    first = clone.install(index)
    assert index.asked.wait(SECONDS)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    half = clone.packages / "half.py"
    half.touch()

    index.may_answer.set()
    status, said = ended(clone.install(index))
    assert (status, said) == (0, "Installing requirements/serve.txt into .venv.\n")
    assert (clone.packages / "tiny.py").exists()
    assert not half.exists()


def test_two_installs_at_once_are_made_one_after_the_other(clone: Clone, index: Index, bare: Path) -> None:
    clone.given(bare)
    (clone.folder / "requirements" / "serve.txt").write_text(index.lock)
    first = clone.install(index)
    assert index.asked.wait(SECONDS)
    second = clone.install(index)
    assert second.stdout is not None
    assert second.stdout.readline() == "Waiting for another make that installs here.\n"

    index.may_answer.set()
    assert ended(first)[0] == 0
    assert ended(second) == (0, "Installing requirements/serve.txt into .venv.\n")


def test_an_environment_is_made_again_when_its_python_is_gone_or_newer(clone: Clone) -> None:
    stamp = clone.folder / ".venv" / ".serve"
    python = clone.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    up_to_date = partial(subprocess.run, ["make", "--question", ".venv/.serve"], cwd=clone.folder, check=False)

    python.symlink_to(sys.executable)
    stamp.touch()
    assert up_to_date().returncode == 0

    os.utime(stamp, (1, 1))
    assert up_to_date().returncode == 1

    stamp.touch()
    python.unlink()
    python.symlink_to("/no/such/python")
    assert up_to_date().returncode == 1
