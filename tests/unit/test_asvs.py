"""The page on the ASVS has every requirement of its chapters once, and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "asvs.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if re.match(r"\| \d", line)
]
REFERENCE = re.compile(r"`(tests/[^`]+)`")
# ASVS 5.0.0: the requirements of the levels 1 and 2, by their section. What is missing in between is of level 3.
LEVEL_1 = {
    "6.1": [1], "6.2": range(1, 9), "6.3": [1, 2], "6.4": [1, 2], "7.2": range(1, 5), "7.4": [1, 2], "9.1": range(1, 4),
    "9.2": [1], "10.4": range(1, 6), "11.3": [1, 2], "11.4": [1],
}  # fmt: skip
LEVEL_2 = {
    "6.1": [2, 3], "6.2": range(9, 13), "6.3": [3, 4], "6.4": [3, 4], "6.5": range(1, 6), "6.6": range(1, 4),
    "6.8": range(1, 5), "7.1": range(1, 4), "7.3": [1, 2], "7.4": range(3, 6), "7.5": [1, 2], "7.6": [1, 2],
    "9.2": range(2, 5), "10.1": [1, 2], "10.2": [1, 2], "10.3": range(1, 5), "10.4": range(6, 12), "10.5": range(1, 6),
    "10.6": [1, 2], "10.7": range(1, 4), "11.1": [1, 2], "11.2": range(1, 4), "11.3": [3], "11.4": range(2, 5),
    "11.5": [1], "11.6": [1],
}  # fmt: skip
STATES = {"met", "not met", "not applicable"}


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_no_number_is_missing() -> None:
    expected = {
        f"{section}.{number}": level
        for level, sections in (("1", LEVEL_1), ("2", LEVEL_2))
        for section, numbers in sections.items()
        for number in numbers
    }
    assert {row[0]: row[1] for row in ROWS} == expected
    assert len(ROWS) == len(expected)


def test_each_has_a_state_and_says_why() -> None:
    for number, _, asked, state, how in ROWS:
        assert state in STATES, number
        assert asked, number
        assert how, number
        assert REFERENCE.search(how) or state != "met", f"{number} is met by no test"


def test_what_is_not_met_is_told_at_the_beginning() -> None:
    short = PAGE.partition("\n## ")[0]
    missing = {number for number, _, _, state, _ in ROWS if state == "not met"}
    assert set(re.findall(r"\b\d+\.\d+\.\d+\b", short)) == missing


def test_what_is_named_exists() -> None:
    for reference in sorted(set(REFERENCE.findall(PAGE))):
        path, _, name = reference.partition("::")
        assert (ROOT / path).is_file(), reference
        assert not name or name in functions_of(ROOT / path), reference


def test_what_is_linked_exists() -> None:
    for link in re.findall(r"\]\((?!https)([^)]+)\)", PAGE):
        path, _, heading = link.partition("#")
        text = (ROOT / "docs" / path).read_text(encoding="utf-8")
        assert not heading or f"\n## {heading.replace('-', ' ').capitalize()}\n" in text, link
