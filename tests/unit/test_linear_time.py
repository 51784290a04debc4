"""What reads a request takes twice as long for twice as much, and not four times.

Each reader is given what makes a backtracking one try again and again: a long run of what may stand there, and at its
end something that may not.
"""

from __future__ import annotations

import base64
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_network
from pkgutil import walk_packages
from typing import Any

import pytest
from twinauth_verify.jws import read_jws

from core.authentication.passwords.policy import PasswordPolicy
from core.authentication.schemas import LoginRequest
from core.errors import AuthError
from core.http.edge.client_address import client_address
from core.http.edge.routing import Routes
from core.http.reading import bearer_token, client_credentials, read_form, read_json, read_query
from core.mail.one_time_tokens import digest_of
from core.mail.texts.editions import preferred_languages
from core.oauth.model import is_well_formed
from core.sessions.refresh_tokens import RefreshTokens
from core.settings.groups import PasswordSettings
from core.tokens.access import parse_scopes
from core.users.addresses import canonical_or_none
from tests.support.contract import OPERATIONS

LENGTH = 20_000  # more than any field may have; a reader that looks at each pair of places takes seconds for it
MOST_ROUNDS = 10
# Below this, what is measured is the call and the memory; looking at each pair of 20,000 places takes far more.
FLOOR = 0.001
RATIO = 3


def seconds(read: Callable[[Any], object], text: Any) -> float:
    """What it takes of the processor: whoever else is at work on the machine does not count."""
    started = time.thread_time()
    with suppress(AuthError, ValueError, KeyError):
        read(text)
    return time.thread_time() - started


def assert_linear(read: Callable[[Any], object], make: Callable[[int], Any]) -> None:
    """Measured until it is seen to be: of a reader that tries again and again, the least is four times the least."""
    short, long = make(LENGTH), make(2 * LENGTH)
    least_of_short = least_of_long = math.inf
    for _ in range(MOST_ROUNDS):
        least_of_short = min(least_of_short, seconds(read, short))
        least_of_long = min(least_of_long, seconds(read, long))
        if least_of_long < RATIO * max(least_of_short, FLOOR):
            return
    pytest.fail(f"{least_of_short:.4f} s, and {least_of_long:.4f} s for twice as much")


PROXIES = [ip_network("0.0.0.0/0"), ip_network("::/0")]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
refresh_tokens = RefreshTokens([b"key"])
policy = PasswordPolicy(PasswordSettings())
routes = Routes(OPERATIONS.values())

READERS: dict[str, tuple[Callable[[Any], object], Callable[[int], Any]]] = {
    "address, letters": (canonical_or_none, lambda n: "a" * n + "@"),
    "address, labels": (canonical_or_none, lambda n: "a@" + "a." * n),
    "password, digits": (
        lambda text: policy.check(text, address="a@b.c", field=""),
        lambda n: "1" * n + "a1",
    ),
    "password, marks in their wrong order": (
        lambda text: LoginRequest.model_validate({"email": "a@b.c", "password": text}),
        lambda n: "\u0301" * n + "\u0316" * n,
    ),
    "new password, marks in their wrong order": (
        lambda text: policy.check(text, address="a@b.c", field=""),
        lambda n: "\u0301" * n + "\u0316" * n,
    ),
    "refresh token": (refresh_tokens.read, lambda n: "twr_" + "a" * n + "!"),
    "token of a link": (digest_of, lambda n: "twm_" + "a" * n + "!"),
    "client secret": (is_well_formed, lambda n: "tws_" + "a" * n + "!"),
    "scopes": (parse_scopes, lambda n: "a " * n + '"'),
    "scope": (parse_scopes, lambda n: "a" * n + '"'),
    "bearer token, dots": (bearer_token, lambda n: "Bearer " + "a." * n + "!"),
    "bearer token, blanks": (bearer_token, lambda n: "Bearer " + " " * n + "!"),
    "bearer token, padding": (bearer_token, lambda n: "Bearer " + "a" * n + "=" * n + "!"),
    "basic": (client_credentials, lambda n: "Basic " + base64.b64encode(b"%" * n + b":" + b"+" * n).decode()),
    "jws": (
        lambda text: read_jws(text, types=("at+jwt",), max_characters=4 * LENGTH),
        lambda n: "a" * n + "." + "a" * n + ".!",
    ),
    "path": (routes.at, lambda n: "/v1/sessions/" + "a" * n + "/"),
    "languages": (preferred_languages.__wrapped__, lambda n: "en;q=0.5," * n),
    "language": (preferred_languages.__wrapped__, lambda n: "a-" * n + ";q=0." + "1" * n),
    "forwarded for": (lambda text: client_address("::1", text, PROXIES), lambda n: "192.0.2.1, " * (n // 20)),
    "forwarded for, no address": (lambda text: client_address("::1", text, PROXIES), lambda n: ":" * n),
    "forwarded for, blanks": (lambda text: client_address("::1", text, PROXIES), lambda n: " ," * n + " " * n),
    "json, strings": (lambda raw: read_json(JSON, raw), lambda n: b'{"a": "' + b"\\u0061" * n + b'"'),
    "json, members": (
        lambda raw: read_json(JSON, raw),
        lambda n: b"{" + b",".join(b'"a%d": 1' % k for k in range(n // 10)) + b"}",
    ),
    "json, digits": (lambda raw: read_json(JSON, raw), lambda n: b'{"a": 0.' + b"1" * n + b"}"),
    "json, depth": (lambda raw: read_json(JSON, raw), lambda n: b'{"a": ' * n),
    "json, blanks": (lambda raw: read_json(JSON, raw), lambda n: b"{" + b" " * n + b"x"),
    "content type, blanks": (lambda text: read_json(text, b"{}"), lambda n: JSON + " " * n + ";" + " " * n + "x"),
    "content type, letters": (lambda text: read_json(text, b"{}"), lambda n: "a" * n + "\x00"),
    "form, escapes": (lambda raw: read_form(FORM, raw), lambda n: b"a=" + b"%61" * n + b"%"),
    "form, pairs": (lambda raw: read_form(FORM, raw), lambda n: b"a&" * n),
    "query": (read_query, lambda n: b"a=" + b"%" * n),
}


@pytest.mark.parametrize("name", READERS)
def test_twice_as_much_takes_no_more_than_twice_as_long(name: str) -> None:
    assert_linear(*READERS[name])


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Every regular expression that a module of ours keeps."""
    for name in ("core", "cli", "servers", "api_flask", "api_fastapi", "twinauth_verify"):
        package = import_module(name)
        for found in walk_packages(package.__path__, f"{name}."):
            for constant, value in vars(import_module(found.name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{found.name}.{constant}", value


PATTERNS = dict(patterns())
RUNS = (
    "a",
    "1",
    ".",
    "a.",
    "-",
    "_",
    " ",
    "\t",
    "; ",
    ":",
    "a:",
    "a: b\r\n",
    "\r\n",
    "<",
    "@",
    "a@",
    "=",
    "/",
    "0",
    "Z.",
)
ENDS = ("", "\x00", "!", "\r", "\r\n\r\n")


def test_there_are_patterns() -> None:
    assert len(PATTERNS) > 20


@pytest.mark.parametrize("name", PATTERNS)
def test_no_regular_expression_tries_again_and_again(name: str) -> None:
    pattern = PATTERNS[name]
    for run in RUNS:
        for end in ENDS:

            def text(length: int, run: str = run, end: str = end) -> Any:
                whole = run * length + end
                return whole if isinstance(pattern.pattern, str) else whole.encode("latin-1")

            assert_linear(pattern.fullmatch, text)
