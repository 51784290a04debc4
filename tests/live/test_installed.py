"""The package without a part of its extras, as `pip install` leaves it: what is missing is told, or is not there."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cli.serve import _say_where
from tests.support.servers import HOST, ROOT, START_SECONDS, environment
from tests.support.settings import make_settings

FASTAPI, FLASK = "pip install 'twinauth[fastapi]'", "pip install 'twinauth[flask]'"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FRAMEWORKS = {
    "fastapi": {"fastapi", "httptools", "python-multipart", "starlette", "uvicorn", "uvloop"},
    "flask": {"flask", "gunicorn"},
}


def without(modules: tuple[str, ...], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has none of these modules."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))"
    code = f"{hide}; from cli.main import main; main({list(arguments)!r}, prog_name='twinauth')"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=START_SECONDS,
    )


@pytest.mark.parametrize(
    ("hidden", "framework", "line"),
    [
        (("uvicorn", "gunicorn"), "both", f"no front door is installed: {FASTAPI} or {FLASK}"),
        (("uvicorn", "gunicorn"), "flask", f"no front door is installed: {FLASK}"),
        (("uvicorn",), "fastapi", f"the FastAPI door is not installed: {FASTAPI}"),
        (("python_multipart",), "fastapi", f"the FastAPI door is not installed: {FASTAPI}"),
        (("flask",), "flask", f"the Flask door is not installed: {FLASK}"),
        (
            ("gunicorn",),
            "both",
            f"the Flask door is not installed: {FLASK}, or serve FastAPI alone with --framework fastapi",
        ),
        (
            ("fastapi",),
            "both",
            f"the FastAPI door is not installed: {FASTAPI}, or serve Flask alone with --framework flask",
        ),
    ],
)
def test_a_door_that_is_not_installed_is_told_with_how_to_install_it(
    hidden: tuple[str, ...], framework: str, line: str, tmp_path: Path
) -> None:
    done = without(hidden, tmp_path, "serve", "--framework", framework)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {line}\n")


def test_the_command_line_needs_neither_framework(tmp_path: Path) -> None:
    names = tuple(name.replace("-", "_") for needs in FRAMEWORKS.values() for name in needs)
    for arguments in (["migrate"], ["keys", "rotate"], ["openapi"], ["settings"]):
        done = without(names, tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments


@pytest.mark.parametrize(("is_there", "path"), [(True, "/docs"), (False, "")])
def test_documentation_is_announced_where_its_assets_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str, *, is_there: bool
) -> None:
    if not is_there:
        monkeypatch.setitem(sys.modules, "fastapi_offline", None)
    _say_where(make_settings(), HOST, {"fastapi": 8000}, None)
    assert capsys.readouterr().out.splitlines()[0] == f"FastAPI  http://{HOST}:8000{path}"


def names_of(requirements: list[str]) -> set[str]:
    return {Requirement(line).name for line in requirements}


def test_neither_the_package_nor_an_extra_of_a_door_brings_the_other_framework() -> None:
    everything = set().union(*FRAMEWORKS.values())
    assert not everything & names_of(PROJECT["dependencies"])
    for framework, needs in FRAMEWORKS.items():
        assert everything & names_of(PROJECT["optional-dependencies"][framework]) == needs
