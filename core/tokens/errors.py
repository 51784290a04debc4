"""The errors of the key ring; no caller of the API sees them."""

from __future__ import annotations


class KeyNumberTakenError(Exception):
    """Another process added a key at the same moment."""


class KeyRingLockedError(Exception):
    """The private keys were encrypted under another secret key."""
