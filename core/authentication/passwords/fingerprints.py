"""A file of fingerprints: which of a million passwords is known, in 3.4 MB that are never read as a whole.

A fingerprint is the beginning of a password's SHA-1, as in the lists of leaked passwords that are published. Its first
bits choose a bucket, and the next 24 stand in that bucket, sorted. With at most 16 fingerprints in an average bucket, a
password that is not in the list is taken for one of it once in a million (16 / 2^24). The file is mapped into memory:
the processes of a machine share its pages, and a search touches two of them.

    header      magic, bits of a bucket's number, number of fingerprints
    directory   for each bucket, and for the end, the number of fingerprints before it
    buckets     fingerprints of three bytes
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from hashlib import sha1
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Protocol

HASH_BITS = 64
"""The bits of a SHA-1 that are looked at."""

_MAGIC = b"twinpwd1"
_HEADER = struct.Struct(">8sQQ")
_OFFSET = struct.Struct(">I")
_RANGE = struct.Struct(">II")
_BITS = 24
_WIDTH = _BITS // 8
_SMALLEST_BUCKET = 8  # on average; the largest is twice that
_MAX_BUCKET_BITS = 30


class FingerprintsError(Exception):
    """A file is no file of fingerprints, or not a whole one; the text says which."""


class SortedHashes(Protocol):
    """Hashes in ascending order, which can be gone through more than once."""

    def __len__(self) -> int:
        """Count them, repeated ones included."""
        ...

    def __iter__(self) -> Iterator[int]:
        """Go through them."""
        ...


def hash_of(password: bytes) -> int:
    """Return the first bits of the SHA-1 of a password."""
    return int.from_bytes(sha1(password, usedforsecurity=False).digest()[: HASH_BITS // 8])


class Fingerprints:
    """The passwords of a file."""

    def __init__(self, path: Path) -> None:
        """Map the file.

        Raises:
            FingerprintsError: it is not a whole file of fingerprints.
            OSError: it cannot be read.

        """
        with path.open("rb") as file:
            self._bits, self._count = _header(path, file)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._buckets = _start_of_buckets(self._bits)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, password: str) -> bool:
        """Whether the file has the password. Takes some microseconds, and is wrong once in a million."""
        bucket, fingerprint = _split(hash_of(password.encode()), self._bits)
        first, end = _RANGE.unpack_from(self._map, _HEADER.size + bucket * _OFFSET.size)
        found = self._map[self._buckets + first * _WIDTH : self._buckets + end * _WIDTH]
        return _has(found, fingerprint.to_bytes(_WIDTH))


def write(path: Path, hashes: SortedHashes) -> int:
    """Write the file of these hashes, and return the number of its fingerprints."""
    bits = min(_MAX_BUCKET_BITS, max(0, (len(hashes) // _SMALLEST_BUCKET).bit_length() - 1))
    count = offsets = 0
    with path.open("wb") as head, path.open("r+b") as buckets:
        head.seek(_HEADER.size)
        buckets.seek(_start_of_buckets(bits))
        for bucket, fingerprints in groupby(_fingerprints(hashes, bits), key=itemgetter(0)):
            offsets += head.write(_OFFSET.pack(count) * (bucket + 1 - offsets // _OFFSET.size))
            for _, fingerprint in fingerprints:
                buckets.write(fingerprint.to_bytes(_WIDTH))
                count += 1
        head.write(_OFFSET.pack(count) * ((1 << bits) + 1 - offsets // _OFFSET.size))
        head.seek(0)
        head.write(_HEADER.pack(_MAGIC, bits, count))
        for file in (head, buckets):
            file.flush()
            os.fsync(file.fileno())
    return count


def _fingerprints(hashes: SortedHashes, bits: int) -> Iterator[tuple[int, int]]:
    """Go through buckets and fingerprints; hashes that differ in neither are one."""
    return (pair for pair, _ in groupby(_split(found, bits) for found in hashes))


def _has(bucket: bytes, wanted: bytes) -> bool:
    at = bucket.find(wanted)
    while at > 0 and at % _WIDTH:  # the end of one and the beginning of the next
        at = bucket.find(wanted, at + 1)
    return at >= 0


def _header(path: Path, file: BinaryIO) -> tuple[int, int]:
    head = file.read(_HEADER.size)
    magic, bits, count = _HEADER.unpack(head) if len(head) == _HEADER.size else (b"", 0, 0)
    if magic != _MAGIC or bits > _MAX_BUCKET_BITS:
        raise FingerprintsError(f"{path} was not made by twinauth passwords import")
    if os.fstat(file.fileno()).st_size != _start_of_buckets(bits) + count * _WIDTH:
        raise FingerprintsError(f"{path} is not whole")
    return bits, count


def _start_of_buckets(bits: int) -> int:
    return _HEADER.size + ((1 << bits) + 1) * _OFFSET.size


def _split(found: int, bits: int) -> tuple[int, int]:
    """Return the number of the bucket of a hash, and its fingerprint there."""
    return found >> (HASH_BITS - bits), found >> (HASH_BITS - bits - _BITS) & ((1 << _BITS) - 1)
