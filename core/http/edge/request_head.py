"""The head of a request, as both servers give it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Fields = Mapping[str, str]
"""Header fields by their lower-case names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """The first line and the header fields of a request, as plain values."""

    method: str
    path: str
    target_length: int
    version: str
    fields: Sequence[tuple[str, str]]
    peer: str


def joined(fields: Iterable[tuple[str, str]]) -> Fields:
    """The fields by name; those of one name are joined by a comma, as WSGI servers do it."""
    found: dict[str, str] = {}
    for name, value in fields:
        lowered = name.lower()
        found[lowered] = f"{found[lowered]},{value}" if lowered in found else value
    return found
