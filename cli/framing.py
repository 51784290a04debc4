"""Where a request begins and ends in what a client sends, and whether it is one: the one reader of both servers.

Two parsers that disagree about one request are how requests are smuggled past whoever stands in front (RFC 9112
section 11.2), and the two servers' own differ in more than twenty ways. So neither sees what a client sent: this module
reads a request as strictly as RFC 9112 lets it, and writes it anew in one plain form, with a length and without chunks,
expectations, trailers, absolute targets, and names that WSGI cannot tell from others. Whatever it does not understand
at once it refuses, and where two things are wrong, what comes first in the bytes decides, however they were cut.

From its bytes to its plain form, a request of a service with five fields and a body takes 10 microseconds, one of a
browser with twelve takes 17 (CPython 3.11 on one of two busy cores, where either door takes some 500 for an answer).
"""

import re
from dataclasses import dataclass
from http import HTTPMethod

from core.errors import BodyTooLarge, HeadersTooLarge, MalformedRequest, TargetTooLong
from core.http.edge.limits import CONTINUE, MAX_BODY, MAX_FIELD, MAX_FIELDS, MAX_TARGET

MAX_HEAD = 256 * 1024
MAX_CHUNKED = 2 * MAX_BODY  # with sizes and trailers: a body in chunks of a byte is six times as long

_METHOD = "|".join(HTTPMethod).encode()
_IN_TARGET = rb"[!-\"$-~]"  # no fragment: it is the client's own (RFC 9110 section 7.1), and parsers cut it off or not
_TARGET_TOO_LONG = re.compile(rb"(?:\r\n)?(?:%s) %s{%d}" % (_METHOD, _IN_TARGET, MAX_TARGET + 1))
# One empty line may come first (RFC 9112 section 2.2).
_LINE = re.compile(rb"(?:\r\n)?(%s) (%s{1,%d}) HTTP/(1\.[01])\r\n" % (_METHOD, _IN_TARGET, MAX_TARGET))
_LINE_SO_FAR = re.compile(
    rb"\r|(?:\r\n)?(?:[A-Z]{0,7}|(?:%s) (?:%s{1,%d}(?: [HTP/1.0]{0,8}\r?)?)?)" % (_METHOD, _IN_TARGET, MAX_TARGET)
)
_ABSOLUTE = re.compile(rb"https?://[\w.:\[\]-]+(?=[/?]|\Z)", re.IGNORECASE)
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+\r\n")
_FIELD = re.compile(rb"([^:]+):[\t ]*+([^\r]*)\r\n")
# What no line of a head or trailer holds (RFC 9110 section 5.5), so that its end is not worth waiting for.
_BROKEN = re.compile(rb"[^\r]\n|\r[^\n]|[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EXTENSION = rb"[ \t]{0,16};[\t -~\x80-\xff]{0,1024}"
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:%s)?\r\n" % _EXTENSION)
_CHUNK_SO_FAR = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]{0,16}|(?:%s)?\r?))?" % _EXTENSION)

# What is said anew, or of no meaning behind this. Proxy-Connection ends a connection for one of the parsers.
_OURS = frozenset(
    (b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-connection", b"transfer-encoding")
)


class Head:
    """The request line and the fields, with names in lower case; the target begins with a slash or is a star."""

    __slots__ = ("_first", "_is_told", "fields", "method", "target", "version")

    def __init__(self, line: "_Line", fields: list[tuple[bytes, bytes]]) -> None:
        self.method, self.target, self.version = line.method, line.target, line.version
        self.fields = fields
        self._first = dict(fields)
        self._is_told = False

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of this name."""
        if name not in self._first:
            return []
        return [value for found, value in self.fields if found == name]

    def take_expectation(self) -> bool:
        """Whether the client waits to be told to send the body, once; not one of HTTP/1.0 (RFC 9110 section 10.1.1)."""
        is_expected = not self._is_told and self.version != b"1.0" and b"expect" in self._first
        self._is_told = True
        return is_expected

    def with_body(self, body: bytes) -> bytes:
        """The request in its plain form.

        Names with an underscore are left out: WSGI makes ``X_Forwarded_For`` and ``X-Forwarded-For`` one field.
        """
        kept = [(name, value) for name, value in self.fields if name not in _OURS and b"_" not in name]
        lines = list(map(b": ".join, kept))
        if self._is_last():
            lines.append(b"connection: close")
        if b"content-length" in self._first or b"transfer-encoding" in self._first:
            lines.append(b"content-length: %d" % len(body))
        return b"\r\n".join((b"%s %s HTTP/%s" % (self.method, self.target, self.version), *lines, b"", body))

    def _is_last(self) -> bool:
        """Whether the connection ends behind it. Of HTTP/1.0 both servers know by themselves."""
        if b"connection" not in self._first:
            return self.method == b"CONNECT"
        options = b",".join(self.values(b"connection")).lower().split(b",")
        return self.method == b"CONNECT" or b"close" in [option.strip(b" \t") for option in options]


@dataclass(frozen=True, slots=True)
class _Line:
    method: bytes
    target: bytes
    version: bytes
    end: int


class RequestReader:
    """Collects what comes on one connection, and gives out one request after the other."""

    head: Head | None
    """Of the request that is being read, when it is there to its end."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._begin()

    def __len__(self) -> int:
        return len(self._received)

    @property
    def has_begun(self) -> bool:
        """Whether more than an empty line of the next request has come."""
        return self.head is not None or bytes(self._received[:3]) not in (b"", b"\r", b"\r\n")

    @property
    def asks_for_head(self) -> bool:
        """Whether no body may be in the answer to what has come so far (RFC 9110 section 9.3.2)."""
        if self.head is not None:
            return self.head.method == b"HEAD"
        return self._received[:7].removeprefix(b"\r\n").startswith(b"HEAD ")

    def receive(self, data: bytes) -> None:
        """Take what has come."""
        self._received += data

    def next(self) -> bytes | None:
        """The next request in its plain form, or None where it is not whole.

        Raises:
            MalformedRequest: it is none.
            TargetTooLong: its target is.
            HeadersTooLarge: its fields are, one or all together, or its trailers.
            BodyTooLarge: its body is, or will be.

        """
        head = self.head or self._read_head()
        if head is None:
            return None
        body = self._read_body()
        if body is None:
            return None
        self._begin()
        return head.with_body(body)

    def _begin(self) -> None:
        self.head: Head | None = None
        self._pool: _Line | None = None
        self._seen = 0
        self._length: int | None = 0
        self._chunks = bytearray()
        self._at = 0

    def _read_head(self) -> Head | None:
        line = self._pool = self._pool or _line_of(self._received)
        if line is None:
            return None
        end = _end_of_lines(self._received, max(line.end - 2, self._seen - 3), MAX_HEAD)
        self._seen = len(self._received)
        if end is None:
            return None
        lines = bytes(self._received[line.end : end])
        if not _FIELDS.fullmatch(lines):
            raise MalformedRequest
        del self._received[:end]
        head = self.head = Head(line, _fields_of(lines))  # also of what is refused: it has the say in the answer
        if len(head.fields) > MAX_FIELDS or (len(lines) > MAX_FIELD and _has_large_field(head)):
            raise HeadersTooLarge
        self._length = _length_of(head)
        return head

    def _read_body(self) -> bytes | None:
        if self._length is None:
            return self._read_chunks()
        if len(self._received) < self._length:
            return None
        body = bytes(self._received[: self._length])
        del self._received[: self._length]
        return body

    def _read_chunks(self) -> bytes | None:
        while line := self._chunk():
            size = int(line[1], 16)
            if size == 0:
                return self._end_chunks(line.end())
            end = line.end() + size
            if len(self._chunks) + size > MAX_BODY or end + 2 > MAX_CHUNKED:
                raise BodyTooLarge
            if not b"\r\n".startswith(self._received[end : end + 2]):
                raise MalformedRequest
            if len(self._received) < end + 2:
                return None
            self._chunks += self._received[line.end() : end]
            self._at = end + 2
        return None

    def _chunk(self) -> re.Match[bytes] | None:
        line = _CHUNK.match(self._received, self._at, MAX_CHUNKED)
        if line is None:
            if not _CHUNK_SO_FAR.fullmatch(self._received, self._at, MAX_CHUNKED):
                raise MalformedRequest
            if len(self._received) >= MAX_CHUNKED:
                raise BodyTooLarge
        return line

    def _end_chunks(self, at: int) -> bytes | None:
        """Leave the trailers out: a token or an address there would come past a proxy that has looked at the head."""
        end = _end_of_lines(self._received, at - 2, at + MAX_FIELD)
        if end is None:
            return None
        if not _FIELDS.fullmatch(self._received, at, end):
            raise MalformedRequest
        del self._received[:end]
        return bytes(self._chunks)


def _line_of(received: bytearray) -> _Line | None:
    line = _LINE.match(received)
    if line is not None:
        method, target = bytes(line[1]), bytes(line[2])
        return _Line(method, _origin_form(method, target), bytes(line[3]), line.end())
    if _TARGET_TOO_LONG.match(received):
        raise TargetTooLong
    if not _LINE_SO_FAR.fullmatch(received):
        raise MalformedRequest
    return None


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Path and query. Nothing here is made of a host, so that one in the target needs only be one.

    Raises:
        MalformedRequest: it is no target of this method (RFC 9112 section 3.2); of CONNECT, that it is a tunnel.

    """
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    host = _ABSOLUTE.match(target)
    if host is None or method == b"CONNECT":
        raise MalformedRequest
    path = target[host.end() :]
    return path if path.startswith(b"/") else b"/" + path


def _end_of_lines(received: bytearray, start: int, limit: int) -> int | None:
    """The index behind the empty line that ends lines, or None where it has not come."""
    end = received.find(b"\r\n\r\n", start, limit)
    if end >= 0:
        return end + 4
    if _BROKEN.search(received, start, limit):
        raise MalformedRequest
    if len(received) >= limit:
        raise HeadersTooLarge
    return None


def _fields_of(lines: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.rstrip()) for name, value in _FIELD.findall(lines)]


def _has_large_field(head: Head) -> bool:
    return any(len(name) + len(value) > MAX_FIELD for name, value in head.fields)


def _length_of(head: Head) -> int | None:
    """The announced length of the body; None where it comes in chunks.

    Raises:
        MalformedRequest: it is not said once and plainly, or another field of which there is one is not.
        BodyTooLarge: it is beyond what is read.

    """
    if any(len(head.values(name)) > 1 for name in (b"host", b"content-type")):
        raise MalformedRequest
    if any(value.lower() != CONTINUE.encode() for value in head.values(b"expect")):
        raise MalformedRequest
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if codings:
        # Both together, two codings, and chunks of HTTP/1.0 are how requests are smuggled (RFC 9112 section 6.1).
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or head.version == b"1.0":
            raise MalformedRequest
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise MalformedRequest
    digits = lengths[0].lstrip(b"0") or b"0"
    if len(digits) > len(str(MAX_BODY)) or int(digits) > MAX_BODY:
        raise BodyTooLarge
    return int(digits)
