"""A whole response, as plain values: what both doors make theirs of, and what the edge sends by itself."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, header fields of different names, and a body."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    @classmethod
    def of(cls, media_type: str, body: bytes, headers: Headers = (), status: int = HTTPStatus.OK) -> Self:
        """An answer with a body, and so with a type of it."""
        return cls(status, (("Content-Type", media_type), *headers), body)
