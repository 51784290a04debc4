"""What arrives on one connection, and what is answered to a request that does not arrive: the same at both servers."""

import struct
from contextvars import copy_context
from dataclasses import dataclass
from urllib.parse import unquote

from cli.framing import Head, RequestReader
from core.errors import AuthError
from core.http.edge.edge import Edge
from core.http.edge.request_head import RequestHead

GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"
# Seconds in which a refused client may end what it sends, unread. Whoever closes at once resets the connection, and the
# client may lose the answer with it (RFC 9112 section 9.6).
LINGER = 2
KEEP_ALIVE = 5  # seconds in which the next request may begin
# The value of SO_LINGER with which closing resets the connection: what the client has not taken of an answer is thrown
# away in the kernel as well, which would otherwise keep it for minutes.
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Refused:
    """A whole answer to what became no request; the connection ends behind it."""

    answer: bytes


class Arrivals:
    """The requests of one connection, and the refusals of what is none."""

    def __init__(self, edge: Edge, peer: str) -> None:
        self._edge = edge
        self._peer = peer
        self._reader = RequestReader()
        self._is_judged = False

    def __len__(self) -> int:
        """How much is kept."""
        return len(self._reader)

    @property
    def has_begun(self) -> bool:
        """Whether something of the next request has come."""
        return self._reader.has_begun

    def take(self, data: bytes) -> None:
        """Take what has come."""
        self._reader.receive(data)

    def next(self) -> bytes | Refused | None:
        """The next request, in a form that any parser reads alike; None where more of it must come."""
        try:
            request = self._reader.next()
        except AuthError as error:
            return self.refused(error)
        if request is not None:
            self._is_judged = False
            return request
        return self._refused_by_its_head()

    def refused(self, error: AuthError) -> Refused:
        """The answer to what has come so far. The head has the say where it is there, as it has in whole requests."""
        head = self._reader.head
        answer = None if head is None else self._answer(head, error)
        return Refused(answer or self._edge.unreadable(error, self._peer, to_head=self._reader.asks_for_head))

    def go_ahead(self) -> bytes:
        """What to tell a client that waits to be told to send the body, once."""
        head = self._reader.head
        return GO_AHEAD if head is not None and head.take_expectation() else b""

    def _refused_by_its_head(self) -> Refused | None:
        """A body is not waited for where the head alone decides; both servers did so, each in other cases."""
        head = self._reader.head
        if head is None or self._is_judged:
            return None
        self._is_judged = True
        answer = self._answer(head, None)
        return None if answer is None else Refused(answer)

    def _answer(self, head: Head, error: AuthError | None) -> bytes | None:
        # In a context of its own: both servers' loops live longer than this exchange.
        return copy_context().run(self._edge.unfinished, _plain(head, self._peer), error)


def _plain(head: Head, peer: str) -> RequestHead:
    target = head.target.decode("ascii")
    return RequestHead(
        method=head.method.decode("ascii"),
        path=unquote(target.partition("?")[0]),
        target_length=len(target),
        version=head.version.decode("ascii"),
        fields=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.fields],
        peer=peer,
    )
