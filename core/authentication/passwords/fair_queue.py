"""The order of those that wait: by turns among address blocks, and within a block among its accounts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

REMEMBERED = 10_000
"""Blocks and accounts whose last turn is remembered."""
NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """Who asks for a hash, as far as the queue has to know."""

    block: str
    """The address block; or of a device that the account knows, the account."""
    account: str
    """The canonical address, whether or not it has an account."""


Key = tuple[str, ...]
"""A block, or a block and an account in it."""
Line = dict[str, list[T]]
"""Waiting items of a block by account, in the order of arrival."""


class FairQueue(Generic[T]):
    """Items of requesters: the next turn is that of the block which had none for longest, or never any.

    In the order of arrival, six callers that logged in to one account of their own kept every other owner out; and if a
    block that has just come waited for a whole round, a hundred callers from twenty blocks kept out twelve of twenty.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, Line[T]] = {}
        self._turns = 0
        self._last_turn: OrderedDict[Key, int] = OrderedDict()

    def add(self, requester: Requester, item: T) -> None:
        """Append an item."""
        self._blocks.setdefault(requester.block, {}).setdefault(requester.account, []).append(item)

    def remove(self, requester: Requester, item: T) -> None:
        """Take an item out, wherever it stands."""
        line = self._blocks[requester.block]
        line[requester.account].remove(item)
        if not line[requester.account]:
            del line[requester.account]
        if not line:
            del self._blocks[requester.block]

    def pop(self, is_ready: Callable[[T], bool]) -> T | None:
        """Take the item that is next among those that are ready."""
        for requester, items in self._in_order():
            item = next(filter(is_ready, items), None)
            if item is not None:
                self.remove(requester, item)
                self._note_turn(requester)
                return item
        return None

    def turns_before(self, requester: Requester) -> int:
        """Return how many items have their turn before a new one of this requester, if no others come."""
        block, account = requester.block, requester.account
        line = self._blocks.get(block, Line[T]())
        own = len(line.get(account, ()))
        accounts: dict[Key, int] = {(block, name): len(items) for name, items in line.items()}
        in_block = self._before((block, account), own, accounts)
        blocks: dict[Key, int] = {(name,): _size(other) for name, other in self._blocks.items()}
        return self._before((block,), in_block, blocks)

    def _before(self, key: Key, own: int, sizes: dict[Key, int]) -> int:
        """Return the turns before one that comes after ``own`` others under its key, among the other keys."""
        mine = self._last(key)
        # Who has waited for longer, or for as long and came before, is one turn ahead.
        ahead = {other: self._last(other) <= mine for other in sizes if other != key}
        return own + sum(min(sizes[other], own + is_ahead) for other, is_ahead in ahead.items())

    def size_of(self, block: str) -> int:
        """Return how many items of a block wait."""
        return _size(self._blocks.get(block, {}))

    def largest(self) -> tuple[str, int]:
        """Return the block with the most items, and their number."""
        sizes = {block: _size(line) for block, line in self._blocks.items()}
        block = max(sizes, key=sizes.__getitem__, default="")
        return block, sizes.get(block, 0)

    def items_of(self, block: str) -> Iterator[T]:
        """Iterate over the items of a block."""
        for items in self._blocks.get(block, {}).values():
            yield from items

    def _in_order(self) -> Iterator[tuple[Requester, list[T]]]:
        for block in sorted(self._blocks, key=lambda block: self._last((block,))):
            line = self._blocks[block]
            for account in sorted(line, key=lambda account: self._last((block, account))):
                yield Requester(block=block, account=account), line[account]

    def _last(self, key: Key) -> int:
        return self._last_turn.get(key, NEVER)

    def _note_turn(self, requester: Requester) -> None:
        self._turns += 1
        for key in ((requester.block,), (requester.block, requester.account)):
            self._last_turn[key] = self._turns
            self._last_turn.move_to_end(key)
        while len(self._last_turn) > REMEMBERED:
            self._last_turn.popitem(last=False)


def _size(line: Line[T]) -> int:
    return sum(map(len, line.values()))
