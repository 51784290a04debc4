"""Where tests stand: what they share is in tests/support, and what measures time is in lab/."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("tests", "lab") for path in (ROOT / folder).rglob("*.py"))
PROOFS = sorted(path for path in (ROOT / "lab").iterdir() if path.is_dir() and not path.name.startswith("_"))


def imported(path: Path) -> set[str]:
    """The modules that a file imports, and what it imports from them, as it might be a module."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_imports_a_test_or_a_conftest() -> None:
    assert len(MODULES) > 100
    for path in MODULES:
        names = {name.rpartition(".")[2] for name in imported(path) if name.startswith(("tests.", "lab."))}
        assert not {name for name in names if name == "conftest" or name.startswith("test_")}, path


def test_what_runs_alone_is_a_proof() -> None:
    """`make test` runs files side by side."""
    marked = [path for path in MODULES if "mark.alone" in path.read_text(encoding="utf-8") and path != Path(__file__)]
    assert marked
    assert [path for path in marked if not path.is_relative_to(ROOT / "lab")] == []


@pytest.mark.parametrize("folder", PROOFS, ids=lambda folder: folder.name)
def test_each_proof_says_what_it_proves(folder: Path) -> None:
    assert (folder / "README.md").is_file()
    assert f"[{folder.name}]({folder.name})" in (ROOT / "lab" / "README.md").read_text(encoding="utf-8")
