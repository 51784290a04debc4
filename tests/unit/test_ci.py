"""The run of CI: what it cannot have, it does not leave out in silence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ALL = "make installs\nmake clients\nmake check\n"
RUN = Path(__file__).parents[2] / ".ci" / "run"


def _run(tmp_path: Path, *programs: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it where there are these programs, nothing to install others with, and a `make` that says what it is told."""
    for name in ("bash", "dirname", "env", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    for name in ("make", *programs):
        (tmp_path / name).write_text('#!/bin/sh\necho "make $*"\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": str(tmp_path), **variables}
    return subprocess.run([RUN], env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_what_is_missing_ends_the_run_of_ci_with_its_name(tmp_path: Path) -> None:
    done = _run(tmp_path, "nginx", "npm", "pgbouncer", CI="true")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ".ci/run: missing, and not to be installed here: chromium\n"


def test_elsewhere_the_tests_that_need_it_say_so_themselves(tmp_path: Path) -> None:
    done = _run(tmp_path, "nginx", "pgbouncer")
    assert (done.returncode, done.stdout, done.stderr) == (0, "make installs\nmake check\n", "")


@pytest.mark.parametrize("browser", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_with_all_there_is_it_runs(tmp_path: Path, browser: str) -> None:
    done = _run(tmp_path, browser, "nginx", "npm", "pgbouncer", CI="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, ALL, "")
