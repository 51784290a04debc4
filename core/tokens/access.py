"""What an access token is good for: scopes (RFC 6749 section 3.3) and one audience (RFC 8707)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.settings.groups import TokenSettings
from core.tokens.errors import ScopeNotGranted, UnknownAudience

_SCOPE = re.compile(r"[!#-\[\]-~]{1,64}")  # scope-token of RFC 6749 section 3.3


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """What a caller asks for, as it was sent; None where nothing was."""

    scope: str | None = None
    resource: str | None = None


WHATEVER_THERE_IS = AccessRequest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What one token is good for."""

    scopes: tuple[str, ...]
    audience: str

    @property
    def scope(self) -> str | None:
        """The scopes as claims and answers have them; None where there are none."""
        return " ".join(self.scopes) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """When and how somebody proved who they are (RFC 9068 section 2.2.1, methods of RFC 8176)."""

    at: datetime
    methods: tuple[str, ...]


def parse_scopes(text: str) -> tuple[str, ...]:
    """Read a list of scopes separated by spaces, each once.

    Raises:
        ScopeNotGranted: one of them is malformed.

    """
    scopes = tuple(dict.fromkeys(text.split(" "))) if text else ()
    if not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise ScopeNotGranted
    return scopes


def scopes_of(roles: Iterable[str], settings: TokenSettings) -> tuple[str, ...]:
    """Return the scopes of a user with these roles, in the order of the setting."""
    held = {"*", *roles}
    return tuple(dict.fromkeys(scope for role, scopes in settings.scopes.items() if role in held for scope in scopes))


def common_scopes(asked: str | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return those of the allowed scopes that were asked for, all of them where nothing was.

    Raises:
        ScopeNotGranted: a scope is malformed, or none of those that were asked for is allowed.

    """
    if not asked:
        return tuple(allowed)
    granted = tuple(scope for scope in parse_scopes(asked) if scope in allowed)
    if not granted:
        raise ScopeNotGranted
    return granted


def all_scopes(asked: str | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the scopes that were asked for, or all that are allowed where nothing was.

    Raises:
        ScopeNotGranted: a scope is malformed or not allowed (RFC 6749 section 6: never more than was granted).

    """
    scopes = parse_scopes(asked) if asked else tuple(allowed)
    if not set(scopes) <= set(allowed):
        raise ScopeNotGranted
    return scopes


def audience_of(resource: str | None, allowed: Sequence[str]) -> str:
    """Return the audience that was asked for, or the first of those allowed.

    Raises:
        UnknownAudience: another one was asked for.

    """
    if resource is None:
        return allowed[0]
    if resource not in allowed:
        raise UnknownAudience
    return resource
