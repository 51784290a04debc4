"""Every promise of the security page names tests that exist, and says who asks them."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What is not promised")[0]
ROWS = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
PROMISES = [[cell.strip() for cell in row] for row in ROWS if row[0].strip() != "promise"]
REFERENCE = re.compile(r"`((?:tests|lab)/[^`]+)`")
REFERENCES = sorted({found for _, tests, _ in PROMISES for found in REFERENCE.findall(tests)})
# Targets of the Makefile, and the folders that they ask.
ASKED_BY = {"make test": r"tests/", "make proofs": r"lab/(?!stack/)", "make lab-stack": r"lab/stack/"}


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_what_is_named_exists() -> None:
    for reference in REFERENCES:
        path, _, name = reference.partition("::")
        assert (ROOT / path).is_file(), reference
        assert not name or name in functions_of(ROOT / path), reference


def test_every_promise_names_a_test_and_who_asks_it() -> None:
    assert len(PROMISES) > 30
    for promise, tests, asked_by in PROMISES:
        named = REFERENCE.findall(tests)
        expected = [target for target, folder in ASKED_BY.items() if any(re.match(folder, test) for test in named)]
        assert asked_by == ", ".join(f"`{target}`" for target in expected), promise
        assert {"make test", "make proofs"} & set(expected), promise


def test_the_targets_ask_these_folders() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target, folder in (("test", "tests"), ("proofs", "lab"), ("lab-stack", "lab/stack")):
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert recipe, target
        assert all(line.endswith(f" {folder}") for line in recipe[1].splitlines()), target
