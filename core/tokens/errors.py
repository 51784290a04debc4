"""The errors of tokens: what a caller asks in vain, and those of the key ring, which no caller sees."""

from __future__ import annotations

from core.errors import AuthError, TryAgainLater


class ScopeNotGranted(AuthError):
    code = "scope_not_granted"
    detail = "A scope is malformed, or none of those that were asked for can be granted."


class UnknownAudience(AuthError):
    code = "unknown_audience"
    detail = "Tokens are issued for no such resource."


class UnknownCursor(AuthError):
    code = "unknown_cursor"
    detail = "This cursor names no entry of the feed. Ask without one, and go on from there."


class KeysLocked(TryAgainLater):
    """The private keys were encrypted under another secret key: this process can sign nothing."""

    code = "keys_locked"
    detail = "No signing key can be opened."
    retry_after = 5


class KeyNumberTakenError(Exception):
    """Another process added a key at the same moment."""


class SecretMissingError(Exception):
    """A new secret would have to be made for a database that has keys of another one."""


class SecretInUseError(Exception):
    """The secret that is to replace another one opens the keys already."""
