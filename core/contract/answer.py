"""A whole response, without a framework: both doors turn it into theirs, and the edge sends its own."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, header fields (each name once), and a body."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    @classmethod
    def of(cls, media_type: str, body: bytes, headers: Headers = (), status: int = HTTPStatus.OK) -> Self:
        """Make an answer with a body and its media type."""
        return cls(status, (("Content-Type", media_type), *headers), body)
