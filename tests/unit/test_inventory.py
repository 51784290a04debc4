"""The tables of the security page name every way in, every key, every algorithm and every module with cryptography."""

from __future__ import annotations

import ast
import re
from http import HTTPMethod
from pathlib import Path
from typing import get_args

from core.authentication.passwords.hasher import CEILINGS
from core.capabilities import CONTRACT
from core.contract.operation import Auth
from core.derived_keys import KeyPurpose
from core.settings.groups import Algorithm, PasswordSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
LIBRARIES = {"cryptography", "hashlib", "hmac", "jwt", "passlib", "secrets", "ssl"}


def _chapter(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def _first_cells(heading: str) -> list[str]:
    """The first cell of each row of a chapter's tables."""
    rows = re.findall(r"^\| (.+?) \|", _chapter(heading), re.MULTILINE)
    return [row for row in rows if not row.startswith("-")]


def _quoted(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_way_in_is_named() -> None:
    ways = [
        f"{operation.method.value} {operation.path}"
        for operation in CONTRACT.operations.values()
        if operation.auth not in {Auth.USER, Auth.BEARER} and operation.method is not HTTPMethod.GET
    ]
    assert len(ways) > 5
    assert sorted(_quoted(_first_cells("Ways to log in"))) == sorted(ways)


def test_every_derived_key_has_a_row() -> None:
    rows = _quoted(_first_cells("Keys and algorithms"))
    assert len(rows) == len(set(rows))
    assert {name for name in rows if name in set(KeyPurpose)} == set(KeyPurpose)


def test_every_row_of_a_key_or_an_algorithm_is_of_the_code() -> None:
    algorithms = {*get_args(Algorithm), *CEILINGS}
    made = {scheme.removesuffix("id") for scheme in get_args(PasswordSettings.model_fields["scheme"].annotation)}
    assert made <= algorithms
    assert set(_quoted(_first_cells("Keys and algorithms"))) == {"AUTH_SECRET_KEY", *KeyPurpose, *algorithms}


def test_every_module_with_cryptography_is_named() -> None:
    modules = {
        str(path.relative_to(ROOT))
        for folder in ("core", "cli", "servers", "api_flask", "api_fastapi")
        for path in (ROOT / folder).rglob("*.py")
        if _has_cryptography(ast.parse(path.read_text(encoding="utf-8")))
    }
    named = _chapter("Keys and algorithms").partition("Modules in which there is any:")[2].partition("\n\nAgainst")[0]
    assert set(re.findall(r"`([^`]+)`", named)) == modules


def _has_cryptography(tree: ast.AST) -> bool:
    return any(_imports(node) & LIBRARIES or _is_random(node) for node in ast.walk(tree))


def _imports(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return {name.name.partition(".")[0] for name in node.names} if isinstance(node, ast.Import) else set()


def _is_random(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "urandom"
