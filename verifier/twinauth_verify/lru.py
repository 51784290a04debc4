"""A bounded mapping that forgets the least recently used entry."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from twinauth_verify.forks import LockHolder

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")


class Lru(LockHolder, Generic[Name, Value]):
    """Safe under threads; never larger than ``size``."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[Name, Value] = OrderedDict()
        super().__init__()

    def _make_locks(self) -> None:
        """Make the lock of the entries."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, name: Name) -> Value | None:
        """Return the value, and count it as used."""
        with self._lock:
            if name not in self._items:
                return None
            self._items.move_to_end(name)
            return self._items[name]

    def put(self, name: Name, value: Value) -> None:
        """Remember a value, and forget the least recently used one if there are too many."""
        with self._lock:
            self._items[name] = value
            self._items.move_to_end(name)
            while len(self._items) > self._size:
                self._items.popitem(last=False)
