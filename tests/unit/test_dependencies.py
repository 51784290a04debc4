"""What is installed: exactly what the lock says, from where it says, under licences that we have looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ("serve.txt", "dev.txt")
MAKEFILE = (ROOT / "Makefile").read_text()

# Older ones have known vulnerabilities that matter here: in tokens, in forms, in sessions, in multipart bodies.
FLOORS = {"pyjwt": "2.15.1", "starlette": "1.3.1", "flask": "3.1.3", "python-multipart": "0.0.31"}


def entries(lock: str) -> list[str]:
    """The entries of a lock, each with its hashes in one line."""
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def requirement(entry: str) -> Requirement:
    return Requirement(entry.partition(" --hash")[0].strip())


def locked(lock: str) -> dict[str, Version]:
    found = [requirement(entry) for entry in entries(lock)]
    return {one.name: Version(str(one.specifier).removeprefix("==")) for one in found}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_a_lock_names_one_version_and_its_hashes(lock: str) -> None:
    found = entries(lock)
    assert len(found) > 40
    for entry in found:
        assert re.fullmatch(r"==[^=*,]+", str(requirement(entry).specifier)), entry
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_takes_nothing_from_elsewhere(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"https?://|git\+|^-e|^--(extra-)?index-url|^--find-links| @ ", text, re.MULTILINE)


def test_what_serves_is_what_is_tested() -> None:
    serving, testing = locked("serve.txt"), locked("dev.txt")
    assert {name: testing.get(name) for name in serving} == serving


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("name", FLOORS)
def test_no_lock_goes_below_a_version_with_a_known_hole(lock: str, name: str) -> None:
    assert locked(lock)[name] >= Version(FLOORS[name])


def test_what_runs_here_is_what_the_lock_says() -> None:
    lock = locked("dev.txt")
    installed = {found.name.lower().replace("_", "-"): Version(found.version) for found in distributions()}
    other = {name: version for name, version in installed.items() if name in lock and version != lock[name]}
    assert other == {}
    assert FLOORS.keys() <= installed.keys()


def test_the_passlib_that_is_imported_is_its_maintained_fork() -> None:
    """Both install the same package; with both there, the one that was unpacked last is imported."""
    assert packages_distributions()["passlib"] == ["libpass"]
    assert not {"passlib"} & locked("dev.txt").keys()


# Licences


def allowed() -> str:
    found = re.search(r"^LICENCES := (.+)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1]


def licences_pass(allow_list: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "piplicenses", "--packages", *locked("serve.txt"), f"--allow-only={allow_list}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_everything_that_serves_has_a_licence_that_was_looked_at() -> None:
    found = licences_pass(allowed())
    assert found.returncode == 0, found.stderr
    assert "cryptography" in found.stdout


def test_a_licence_that_nobody_has_looked_at_is_noticed() -> None:
    allow_list = ";".join(one for one in allowed().split(";") if not one.startswith("LGPL"))
    assert allow_list != allowed()
    found = licences_pass(allow_list)
    assert found.returncode != 0
    assert "LGPL" in found.stdout + found.stderr


def test_no_licence_is_allowed_that_would_bind_those_who_use_this() -> None:
    assert not re.search(r"(^|;)\s*(A?GPL|SSPL|BUSL|UNKNOWN|Proprietary)", allowed())
