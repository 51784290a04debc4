"""Locks that are made anew in a child: one that another thread held at the moment of the fork would stay held."""

from __future__ import annotations

import os
import weakref

_holders: weakref.WeakSet[LockHolder] = weakref.WeakSet()


class LockHolder:
    """Something with locks. Workers of gunicorn are forks of a process that may have verified tokens before."""

    def __init__(self) -> None:
        self._make_locks()
        _holders.add(self)

    def _make_locks(self) -> None:
        """Make every lock."""
        raise NotImplementedError


def _make_all_locks() -> None:
    for holder in _holders:
        holder._make_locks()  # noqa: SLF001 - a base class, of its own


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_make_all_locks)
