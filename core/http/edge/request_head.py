"""The head of a request, the same from both servers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Fields = Mapping[str, str]
"""Header fields by their lower-case names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """The first line and the header fields of a request, without a framework."""

    method: str
    path: str
    target_length: int
    version: str
    fields: Sequence[tuple[str, str]]
    peer: str
    prefix: str = ""
    """Where the door is mounted inside another application; no part of the path."""


def joined(fields: Iterable[tuple[str, str]]) -> Fields:
    """Return the fields by name; those with one name are joined by a comma, as WSGI servers do."""
    found: dict[str, str] = {}
    for name, value in fields:
        lowered = name.lower()
        found[lowered] = f"{found[lowered]},{value}" if lowered in found else value
    return found
