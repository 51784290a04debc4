"""The order of those that wait: by turns among address blocks, and within a block among its accounts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks for a hash, as far as the queue has to know."""

    block: str
    """The address block; or of a device that the account knows, the account."""
    account: str
    """The canonical address, whether or not it has an account."""


Line = OrderedDict[str, list[T]]
"""Waiting items by account, in the order of the next turns."""


class FairQueue(Generic[T]):
    """Items of requesters. One requester with twelve items waits as long for the twelfth as if nobody else asked.

    In the order of arrival, six callers that logged in to one account of their own kept every other owner out.
    """

    def __init__(self) -> None:
        self._blocks: OrderedDict[str, Line[T]] = OrderedDict()

    def add(self, requester: Requester, item: T) -> None:
        """Append an item; a block or an account that has none yet gets its turn after those that have."""
        self._blocks.setdefault(requester.block, OrderedDict()).setdefault(requester.account, []).append(item)

    def remove(self, requester: Requester, item: T) -> None:
        """Take an item out, wherever it stands."""
        line = self._blocks[requester.block]
        line[requester.account].remove(item)
        self._drop_empty(requester)

    def pop(self, is_ready: Callable[[T], bool]) -> T | None:
        """Take the first item that is ready; its block and its account go to the end."""
        for block, account, items in self._in_order():
            item = next(filter(is_ready, items), None)
            if item is not None:
                self.remove(Requester(block=block, account=account), item)
                self._move_to_end(block, account)
                return item
        return None

    def turns_before(self, requester: Requester) -> int:
        """Return how many items have their turn before a new one of this requester."""
        own = self._blocks.get(requester.block, OrderedDict[str, list[T]]())
        rounds = _turns(own, requester.account)
        others = (_size(line) for block, line in self._blocks.items() if block != requester.block)
        # A block that waits already may be before each of the others in the order of turns, or behind; a new one is
        # behind all of them.
        return rounds + sum(min(size, rounds + 1) for size in others)

    def size_of(self, block: str) -> int:
        """Return how many items of a block wait."""
        return _size(self._blocks.get(block, OrderedDict()))

    def largest(self) -> tuple[str, int]:
        """Return the block with the most items, and their number."""
        sizes = {block: _size(line) for block, line in self._blocks.items()}
        block = max(sizes, key=sizes.__getitem__, default="")
        return block, sizes.get(block, 0)

    def items_of(self, block: str) -> Iterator[T]:
        """Iterate over the items of a block."""
        for items in self._blocks.get(block, OrderedDict()).values():
            yield from items

    def _in_order(self) -> Iterator[tuple[str, str, list[T]]]:
        for block, line in self._blocks.items():
            for account, items in line.items():
                yield block, account, items

    def _move_to_end(self, block: str, account: str) -> None:
        line = self._blocks.get(block)
        if line is None:
            return
        if account in line:
            line.move_to_end(account)
        self._blocks.move_to_end(block)

    def _drop_empty(self, requester: Requester) -> None:
        line = self._blocks[requester.block]
        if not line[requester.account]:
            del line[requester.account]
        if not line:
            del self._blocks[requester.block]


def _size(line: Line[T]) -> int:
    return sum(map(len, line.values()))


def _turns(line: Line[T], account: str) -> int:
    """Return how many items of a block have their turn before a new one of this account."""
    before = len(line.get(account, ()))
    return before + sum(min(len(items), before + 1) for name, items in line.items() if name != account)
