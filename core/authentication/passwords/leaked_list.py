"""Reading a published list of leaked passwords, whatever its length and its order, in little memory."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from core.authentication.passwords.fingerprints import HASH_BITS

MAX_LINE = 128  # bytes; what has no line ends is no list, and is not read to its end to find that out
_LINE = re.compile(rb"(?:\xef\xbb\xbf)?([0-9A-Fa-f]{40})(?::([0-9]{1,18}))?\s*")
_DIGITS = HASH_BITS // 4
_PART_BITS = 10
_PART_SIZE = 4096  # hashes in memory for each part: 32 MB in all


class LeakedListError(Exception):
    """A line of the list is not as published; the text names it."""


def hashes_of(file: BinaryIO, *, min_count: int) -> Iterator[int | None]:
    """Go through the lines ``SHA1:count`` or ``SHA1``, as "Have I Been Pwned" has them; None for a line left out.

    Raises:
        LeakedListError: a line is something else, or has no count although there is a minimum.

    """
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
        found = _LINE.fullmatch(line)
        if found is None and line.strip():
            raise LeakedListError(f"line {number} is no SHA-1 in 40 hexadecimal digits, with or without :COUNT")
        if found and min_count and found[2] is None:
            raise LeakedListError(f"line {number} has no count to compare with the minimum")
        is_taken = found is not None and (not min_count or int(found[2]) >= min_count)
        yield int(found[1][:_DIGITS], 16) if found and is_taken else None


class HashSpool:
    """Hashes in parts by their first bits, each part small enough to be sorted in memory.

    A part lies in memory until it is large, and then in a file of the folder. A billion hashes are 8 GB there, and a
    part of them takes 40 MB while it is sorted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts = [array("Q") for _ in range(1 << _PART_BITS)]
        self._count = 0

    def add(self, hashes: Iterable[int]) -> None:
        """Add hashes in any order."""
        for found in hashes:
            part = found >> (HASH_BITS - _PART_BITS)
            self._parts[part].append(found)
            self._count += 1
            if len(self._parts[part]) >= _PART_SIZE:
                self._spill(part)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for part, rest in enumerate(self._parts):
            yield from sorted(self._spilt(part) + rest)

    def _spill(self, part: int) -> None:
        with self._path(part).open("ab") as file:
            self._parts[part].tofile(file)
        self._parts[part] = array("Q")

    def _spilt(self, part: int) -> array[int]:
        path = self._path(part)
        return array("Q", path.read_bytes() if path.exists() else b"")

    def _path(self, part: int) -> Path:
        return self._folder / f"{part:04}"
