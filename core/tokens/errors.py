"""What the key ring refuses; no caller sees it."""

from __future__ import annotations


class KeyNumberTakenError(Exception):
    """Another process added a key at the same moment."""


class KeyRingLockedError(Exception):
    """The secret key is not the one under which the private keys were stored."""
