"""The settings of a verifier, their bounds, and what the package depends on."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from twinauth_verify import AsyncVerifier, Settings, Verifier
from twinauth_verify.fetching import client_options
from twinauth_verify.settings import Tuning

ROOT = Path(__file__).parents[2] / "verifier"
MODULES = sorted((ROOT / "twinauth_verify").glob("*.py"))
GOOD: dict[str, Any] = {"issuer": "https://auth.example.com", "audience": "orders"}


@pytest.mark.parametrize(
    "issuer",
    ["https://a.example", "https://a.example/", "https://a.example/path", "http://127.0.0.1:8000", "http://[::1]:8000",
     "http://localhost:8000", "http://127.8.8.8"],
)  # fmt: skip
def test_an_issuer_speaks_https_or_is_on_this_machine(issuer: str) -> None:
    settings = Settings(issuer=issuer, audience="a")
    assert settings.keys_url == issuer.rstrip("/") + "/.well-known/jwks.json"
    assert settings.feed_url == issuer.rstrip("/") + "/v1/revocations"
    assert settings.expectations.issuer == issuer


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "http://10.0.0.1", "http://127.0.0.1.evil.example", "http://localhost.evil.example",
     "ftp://a.example", "file:///etc/passwd", "a.example", "https://", "https://ann:secret@a.example",
     "https://a.example?x", "https://a.example#x", "HTTP://a.example", "//a.example"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["issuer", "jwks_url", "revocations_url"])
def test_no_key_and_no_revocation_comes_over_an_open_network(name: str, url: str) -> None:
    for made in (Settings, Verifier, AsyncVerifier):
        with pytest.raises(ValueError, match="https"):
            made(**GOOD | {name: url})


@pytest.mark.parametrize(
    "change",
    [
        {"audience": ""}, {"audience": 'a"b'}, {"audience": "a\\b"}, {"audience": "a\nb"}, {"audience": "\u00e9"},
        {"clock_skew": -1}, {"clock_skew": 61}, {"feed_wait": 0}, {"feed_wait": 26}, {"stale_after": 25},
        {"timeout": 0}, {"cooldown": 0}, {"refresh_after": 0}, {"keep_keys_for": 0}, {"unknown_kid_ttl": 0},
        {"cached_tokens": -1}, {"unknown_kids": -1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_at_the_start(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        Verifier(**GOOD | change)


def test_places_of_their_own_are_used() -> None:
    settings = Settings(**GOOD, jwks_url="https://keys.example/a", revocations_url="https://feed.example/b")
    assert (settings.keys_url, settings.feed_url) == ("https://keys.example/a", "https://feed.example/b")


def test_every_setting_can_be_given_to_a_verifier_and_is_in_the_readme() -> None:
    names = {field.name for field in fields(Settings)}
    assert names - {"issuer", "audience"} == Tuning.__annotations__.keys()
    readme = (ROOT / "README.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in readme] == []


def test_proxies_of_the_environment_are_for_other_machines() -> None:
    assert not client_options("http://127.0.0.1:8000")["trust_env"]
    assert client_options("https://auth.example.com")["trust_env"]


def test_the_package_needs_three_libraries_and_nothing_of_the_service() -> None:
    imported: dict[str, set[str]] = {}
    for module in MODULES:
        tree = ast.parse(module.read_text())
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        imported[module.name] = {name.split(".")[0] for name in names}
    for foreign in ("core", "api_flask", "api_fastapi", "cli", "migrations", "sqlalchemy", "pydantic"):
        assert not any(foreign in names for names in imported.values())
    assert {name for name, names in imported.items() if names & {"flask", "werkzeug"}} == {"flask.py"}
    assert {name for name, names in imported.items() if names & {"fastapi", "starlette"}} == {"fastapi.py"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [re.split(r"[\[>]", line)[0] for line in project["dependencies"]] == ["httpx", "pyjwt"]


def test_both_verifiers_take_and_do_the_same() -> None:
    def public(kind: type) -> list[str]:
        return [name for name in vars(kind) if not name.startswith("_")]

    assert public(Verifier) == public(AsyncVerifier) == ["verify", "start", "close"]
