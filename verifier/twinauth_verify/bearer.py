"""Bearer tokens over HTTP (RFC 6750): the requirements and the answers of both guards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from twinauth_verify.errors import (
    InsufficientAuthentication,
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    TokenError,
    Unavailable,
)
from twinauth_verify.tokens import SCOPE, AccessToken

PROBLEM_JSON = "application/problem+json"

_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, without a framework."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Requirement:
    """The scopes and roles that a token must have, all of them, and the age of the login at most, in seconds."""

    scopes: frozenset[str]
    roles: frozenset[str]
    max_age: int | None

    def check(self, token: AccessToken, now: float) -> AccessToken:
        """Return the token if it has them.

        Raises:
            InsufficientScope: the token lacks one.
            InsufficientAuthentication: the login is too old, or the token is no user's.

        """
        if not (self.scopes <= token.scopes and self.roles <= token.roles):
            raise InsufficientScope(self.scopes)
        if self.max_age is not None and (token.auth_time is None or token.auth_time.timestamp() + self.max_age < now):
            raise InsufficientAuthentication(self.max_age)
        return token


def requirement(
    scope: str | Iterable[str] | None, role: str | Iterable[str] | None, max_age: int | None
) -> Requirement:
    """Read the arguments of `require`.

    Raises:
        ValueError: a value is no scope, no role or no age, so no token could ever have it.

    """
    if max_age is not None and max_age <= 0:
        raise ValueError("max_age is in seconds and more than 0")
    scopes, roles = _set_of(scope), _set_of(role)
    if not all(map(SCOPE.fullmatch, scopes)) or "" in roles:
        raise ValueError("not a scope or a role")
    return Requirement(scopes, roles, max_age)


def bearer_token(authorization: str | None) -> str:
    """Take the token out of the Authorization header; WSGI and this package join several with a comma.

    Raises:
        MissingToken: there is no header, or it is of another scheme.
        InvalidRequest: there are two headers.
        InvalidToken: the value cannot be a token.

    """
    if "," in (authorization or ""):
        raise InvalidRequest
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise MissingToken
    token = rest.strip(" ")
    if not _TOKEN68.fullmatch(token):
        raise InvalidToken
    return token


def answer(error: TokenError, realm: str) -> Answer:
    """Return the whole answer to an error: RFC 6750 section 3 in the headers, RFC 9457 in the body."""
    problem = {
        "type": "about:blank",
        "title": error.status.phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    headers = {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store", **_headers(error, realm)}
    return Answer(error.status, headers, json.dumps(problem, separators=(",", ":")).encode())


def _headers(error: TokenError, realm: str) -> dict[str, str]:
    if isinstance(error, Unavailable):
        return {"Retry-After": str(error.retry_after)}
    members = [f'realm="{realm}"']
    if error.challenge is not None:
        members.append(f'error="{error.challenge}"')
    if isinstance(error, InsufficientScope) and error.scopes:
        members.append(f'scope="{" ".join(sorted(error.scopes))}"')
    if isinstance(error, InsufficientAuthentication):
        members.append(f'max_age="{error.max_age}"')
    return {"WWW-Authenticate": f"Bearer {', '.join(members)}"}


def _set_of(value: str | Iterable[str] | None) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset({value} if isinstance(value, str) else value)
