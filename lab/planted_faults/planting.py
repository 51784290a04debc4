"""A copy of the tree, a fault in it, and what tests say of it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.planted_faults.faults import Fault

ROOT = Path(__file__).parents[2]
PASSED, FAILED = 0, 1  # pytest's exit codes; any other says that it could not even ask


class PlantingError(Exception):
    """A fault cannot be planted, or nothing could be learnt from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run of tests said."""

    code: int
    seconds: float
    failed: str
    """The first test that failed."""
    output: str


def copied(folder: Path) -> Path:
    """Copy what git knows or would know of the tree, as it stands now."""
    named = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, named.split("\0")):
        if (ROOT / name).is_file():  # or it was deleted and not yet committed
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return folder


@contextmanager
def planted(tree: Path, fault: Fault) -> Iterator[None]:
    """Let the tree have a fault.

    Raises:
        PlantingError: its text does not stand there exactly once.

    """
    path = tree / fault.file
    before = path.read_text(encoding="utf-8")
    if before.count(fault.text) != 1:
        raise PlantingError(f"{fault.name}: its text stands {before.count(fault.text)} times in {fault.file}")
    path.write_text(before.replace(fault.text, fault.replacement), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def asked(tree: Path, tests: Iterable[str], *options: str) -> Verdict:
    """Run tests of a tree on its own code, until the first one fails."""
    nodes = [node_of(tree, test) for test in tests]
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *options, *nodes],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}:{tree / 'verifier'}"},
        stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
    )  # fmt: skip
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return Verdict(
        code=run.returncode,
        seconds=time.monotonic() - started,
        failed=failed[1] if failed else "",
        output=run.stdout + run.stderr,
    )


def node_of(tree: Path, reference: str) -> str:
    """Return what pytest calls a test that is named by its file and function, with the class around it, if any.

    Raises:
        PlantingError: there is none.

    """
    name, _, function = reference.partition("::")
    path = tree / name
    if not path.exists():
        raise PlantingError(f"there is no {name}")
    if not function:
        return name
    module = ast.parse(path.read_text(encoding="utf-8"))
    places: list[ast.Module | ast.ClassDef] = [
        module,
        *(node for node in module.body if isinstance(node, ast.ClassDef)),
    ]
    for place in places:
        if any(isinstance(node, ast.FunctionDef) and node.name == function for node in place.body):
            around = f"{place.name}::" if isinstance(place, ast.ClassDef) else ""
            return f"{name}::{around}{function}"
    raise PlantingError(f"there is no {reference}")
