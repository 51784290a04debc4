"""Every promise of the security page names a test that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
PROMISES = [line for line in PAGE.partition("## What is not promised")[0].splitlines() if line.startswith("| ")]
REFERENCES = sorted(set(re.findall(r"`((?:tests|lab)/[^`]+)`", PAGE)) - {"tests/unit/test_security_page.py"})


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("reference", REFERENCES)
def test_what_is_named_exists(reference: str) -> None:
    path, _, name = reference.partition("::")
    assert (ROOT / path).is_file()
    assert not name or name in functions_of(ROOT / path)


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PROMISES if line != "| promise | test |"]
    assert len(rows) > 30
    assert [line for line in rows if "`tests/" not in line and "`lab/" not in line] == []
