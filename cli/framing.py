"""Where a request ends in what was received so far: enough of HTTP/1.1 to know whether to wait for more.

It refuses nothing. What it cannot make sense of counts as whole, so that the server's parser says what is wrong.
"""

import re

from core.http.edge import MAX_BODY

MAX_HEAD = 256 * 1024  # more is handed on as it is, and refused there

_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/[0-9.]+\r")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


def is_whole(received: bytes) -> bool:
    """Whether there is nothing to wait for."""
    if not _may_become_a_request(received):
        return True
    end = _HEAD_END.search(received)
    if end is None:
        return len(received) > MAX_HEAD
    fields = _fields(received[: end.start()])
    body = received[end.end() :]
    if b"transfer-encoding" in fields:
        return not fields[b"transfer-encoding"].lower().endswith(b"chunked") or _chunks_are_whole(body)
    length = fields.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
        return True  # refused by what it says, without its body
    return len(body) >= int(length)


def has_head(received: bytes) -> bool:
    """Whether the head is there to its end."""
    return _HEAD_END.search(received) is not None


def awaits_go_ahead(received: bytes) -> bool:
    """Whether the client has sent a head and waits to be told to send the body (RFC 9110 section 10.1.1)."""
    end = _HEAD_END.search(received)
    return end is not None and _EXPECT.search(received, 0, end.start() + 2) is not None


def without_expectation(received: bytes) -> bytes:
    """The request of a client that was told to go ahead, so that nobody tells it again."""
    return _EXPECT.sub(b"", received, count=1)


def _may_become_a_request(received: bytes) -> bool:
    line, newline, _ = received.lstrip(b"\r\n").partition(b"\n")
    if newline:
        return _REQUEST_LINE.fullmatch(line) is not None
    return all(33 <= byte < 127 or byte in b" \r" for byte in line)  # noqa: PLR2004 - printable


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _chunks_are_whole(body: bytes) -> bool:
    at = 0
    while len(body) <= 2 * MAX_BODY:
        chunk = _CHUNK.match(body, at)
        if chunk is None:
            return b"\r\n" in body[at:]  # a line that is none of a chunk; without one, the line goes on
        size = int(chunk[1], 16)
        if size == 0:
            return body.startswith(b"\r\n", chunk.end()) or b"\r\n\r\n" in body[chunk.end() :]
        at = chunk.end() + size + 2
        if len(body) < at:
            return len(body) - chunk.end() > MAX_BODY  # as much as is read before it is refused
    return True
