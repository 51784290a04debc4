"""The images that are not built here: by tag, and by digest once `make pin` has asked a registry."""

from __future__ import annotations

import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.servers import ROOT

FILES = ("Dockerfile.fastapi", "Dockerfile.flask", "deploy/compose/Dockerfile", "docker-compose.yml")
NAMED = re.compile(r"^(?:FROM|    image:) ([a-z0-9./-]+:[a-z0-9.-]+)(@\S+)?(?: AS \w+)?$", re.MULTILINE)
# In the place of the registry: a digest for each name.
DOCKER = """#!/bin/sh
test "$1 $2 $3 $4" = "buildx imagetools inspect --format" || exit 9
test "$6" != "$REFUSED" || { echo "not found"; exit 0; }
printf 'sha256:%s\\n' "$(printf %s "$6" | sha256sum | cut -d' ' -f1)"
"""


def _named(root: Path) -> list[tuple[str, str]]:
    """Every image that is named with a tag, and its digest."""
    return [found for file in FILES for found in NAMED.findall((root / file).read_text())]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in (*FILES, "deploy/image/pin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    return tmp_path


def _pin(clone: Path, refused: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(clone / "deploy" / "image" / "pin")],
        env={"PATH": f"{clone}/bin:/usr/bin:/bin", "REFUSED": refused},
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )


def _with(found: re.Match[str], digest: str) -> str:
    whole, name, before = found[0], found[1], found[2] or ""
    return whole.replace(name + before, name + digest)


def test_an_image_is_named_everywhere_alike() -> None:
    """And either all by digest or none: half of it would promise what does not hold."""
    named = _named(ROOT)
    assert {name for name, _ in named} == {"python:3.13-slim", "nginx:1", "postgres:17", "axllent/mailpit:latest"}
    assert len(set(named)) == 4
    assert len({bool(digest) for _, digest in named}) == 1
    assert all(re.fullmatch(r"(@sha256:[0-9a-f]{64})?", digest) for _, digest in named)


@pytest.mark.parametrize("before", ["", "@sha256:" + "0" * 64])
def test_pin_names_each_by_its_digest_and_changes_nothing_else(clone: Path, before: str) -> None:
    for file in FILES:
        (clone / file).write_text(NAMED.sub(lambda found: _with(found, before), (clone / file).read_text()))
    done = _pin(clone)
    assert (done.returncode, done.stderr) == (0, "")
    assert _named(clone) == [(name, f"@sha256:{sha256(name.encode()).hexdigest()}") for name, _ in _named(ROOT)]
    for file in FILES:
        pinned, here = (re.sub(r"@sha256:[0-9a-f]{64}", "", (root / file).read_text()) for root in (clone, ROOT))
        assert pinned == here, file


def test_pin_says_what_the_registry_does_not_know(clone: Path) -> None:
    done = _pin(clone, refused="postgres:17")
    assert done.returncode == 1
    assert "no digest of postgres:17: not found" in done.stderr
