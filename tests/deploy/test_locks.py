"""The locks name everything, and pip is told to resolve and to build nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.servers import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
VERIFIER: dict[str, Any] = tomllib.loads((ROOT / "verifier" / "pyproject.toml").read_text())["project"]


# What pip is told


def scripts() -> Iterator[Path]:
    """Return every file of the project from which pip may be run."""
    yield from (path for path in ROOT.glob("*file*") if path.is_file())
    for folder in (".ci", "deploy", "lab", "requirements"):
        found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        yield from (path for path in found if path.suffix not in {".md", ".txt", ".in"})


def pip_calls(script: str) -> list[str]:
    lines = [line for line in script.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]
    commands = [command for line in lines for command in re.split(r"&&|\|\|", line)]
    return [command for command in commands if re.search(r"\bpip\b.*\s(install|wheel|download)\s", command)]


CALLS = [(path.relative_to(ROOT).as_posix(), call) for path in scripts() for call in pip_calls(path.read_text())]


def test_pip_is_run_by_these_files_alone() -> None:
    assert {path for path, _ in CALLS} == {
        "Dockerfile.fastapi",
        "Dockerfile.flask",
        "lab/installs/run",
        "requirements/install",
    }


@pytest.mark.parametrize(("path", "call"), CALLS)
def test_pip_resolves_nothing(path: str, call: str) -> None:
    assert "--no-deps" in call, path


@pytest.mark.parametrize(("path", "call"), [(path, call) for path, call in CALLS if " -r " in call])
def test_locks_are_installed_by_hash_and_from_wheels(path: str, call: str) -> None:
    assert "--require-hashes" in call, path
    assert "--only-binary :all:" in call, path


@pytest.mark.parametrize(("path", "call"), [(path, call) for path, call in CALLS if " -r " not in call])
def test_nothing_is_built_by_what_the_day_brings(path: str, call: str) -> None:
    assert re.search(r"--no-build-isolation|--only-binary :all:|\.whl\b", call), path


# The locks are complete

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}


def environments() -> Iterator[dict[str, str]]:
    for python in PYTHONS:
        for platform, (system, name) in PLATFORMS.items():
            yield {
                **{key: str(value) for key, value in default_environment().items()},
                "python_version": python,
                "python_full_version": f"{python}.0",
                "sys_platform": platform,
                "platform_system": system,
                "os_name": name,
            }


def pins(lock: str) -> dict[str, Requirement]:
    lines = re.findall(r"^([a-z0-9][^\\\n]*)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


@cache
def required_by(requirement: Requirement) -> Sequence[tuple[Requirement, str]]:
    """Return what a package requires, with each extra asked for; nothing for one that is not installed here."""
    try:
        requires = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return ()
    return [(Requirement(text), extra) for text in requires for extra in ("", *requirement.extras)]


def missing(locked: dict[str, Requirement], wanted: Iterable[str], environment: dict[str, str]) -> set[str]:
    """Return what the wanted requirements and all that they require need in an environment, and the lock has not."""
    queue = [(Requirement(text), "") for text in wanted]
    seen: set[str] = set()
    lacking: set[str] = set()
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
            continue
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if not _holds(locked, requirement, environment):
            lacking.add(str(requirement))
        queue.extend(required_by(requirement))
    return lacking


def _holds(locked: dict[str, Requirement], requirement: Requirement, environment: dict[str, str]) -> bool:
    pin = locked.get(canonicalize_name(requirement.name))
    if pin is None or (pin.marker and not pin.marker.evaluate(environment)):
        return False
    return requirement.specifier.contains(str(pin.specifier).removeprefix("=="), prereleases=True)


BUILD = (ROOT / "requirements" / "build.in").read_text().splitlines()
DEPENDENCIES: list[str] = PROJECT["dependencies"]
WANTED = {
    "serve.txt": [*DEPENDENCIES, *EXTRAS["fastapi"], *EXTRAS["flask"], *EXTRAS["docs"], *BUILD],
    "dev.txt": [
        *DEPENDENCIES,
        *(text for extra in EXTRAS.values() for text in extra),
        *BUILD,
        *VERIFIER["dependencies"],
    ],
    "image-fastapi.txt": [*DEPENDENCIES, *EXTRAS["fastapi"]],
    "image-flask.txt": [*DEPENDENCIES, *EXTRAS["flask"]],
    "image-build.txt": BUILD,
}


def test_each_lock_is_looked_at() -> None:
    files_alone = {"image-docs.txt"}  # fastapi-offline, of which the images take the files (decision 5)
    assert {path.name for path in (ROOT / "requirements").glob("*.txt")} == WANTED.keys() | files_alone


@pytest.mark.parametrize("lock", WANTED)
def test_a_lock_names_all_that_is_required_on_each_python_and_platform(lock: str) -> None:
    for environment in environments():
        assert missing(pins(lock), WANTED[lock], environment) == set()


def test_a_requirement_of_a_requirement_that_the_lock_lacks_is_noticed() -> None:
    locked = pins("image-flask.txt")
    del locked["blinker"]
    assert [missing(locked, WANTED["image-flask.txt"], environment) for environment in environments()] == [
        {"blinker>=1.9.0"} for _ in environments()
    ]


@pytest.mark.parametrize("lock", [*WANTED, "image-docs.txt"])
def test_what_is_installed_elsewhere_is_what_was_tested(lock: str) -> None:
    tested = pins("dev.txt")
    assert {name: tested[name].specifier for name in pins(lock)} == {
        name: p.specifier for name, p in pins(lock).items()
    }
