"""Requests as bytes, and both servers, each over a database of its own, to send them to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from lab.fuzz.strategies import requests
from lab.fuzz.twins import Asked, Known, copy_database, settled
from tests.support.drivers import Answer
from tests.support.servers import parsed

Draw = Callable[..., Any]
Lines = list[bytes]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SECONDS = 15  # more than either server gives a request to arrive
REFUSED = (400, 408, 413, 414, 431)  # what one parser may say of that which the other takes


@dataclass(frozen=True, repr=False)
class LiveTwins:
    """Both servers, each in a process of its own and over its own copy of one database."""

    flask: str
    fastapi: str
    known: Known
    folder: Path

    def reset(self) -> None:
        """Bring both databases back to their beginning, behind the servers' backs."""
        for framework in ("flask", "fastapi"):
            copy_database(self.folder / "template.db", self.folder / f"{framework}.db")

    def answers(self, raw: bytes) -> tuple[Answer | None, Answer | None]:
        """What both send back before they close the connection; None where that is nothing."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(partial(exchange, raw=raw, is_all=True), (self.flask, self.fastapi))
        return parsed(first) if first else None, parsed(second) if second else None

    def ask(self, raw: bytes) -> None:
        """Send both the same, and insist that what both take for a request, they take for the same one.

        Two parsers read; what is malformed, each refuses by its own lights.
        """
        answers = self.answers(raw)
        for answer in answers:
            assert answer is None or answer.status < 500, f"{answer.status} {answer.body!r}"
        taken = [settled(one, by_the_clock=True) for one in answers if one is not None and one.status not in REFUSED]
        assert len(taken) < 2 or taken[0] == taken[1]


def exchange(url: str, raw: bytes, *, is_all: bool = False) -> bytes:
    """Send bytes and read until the server closes or resets the connection; an interim answer is left out.

    A server that is told that this is all waits for no more.
    """
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 80), SECONDS) as connection:
        with contextlib.suppress(ConnectionError):  # it may answer and close before it has read everything
            connection.sendall(raw)
            if is_all:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    return received.removeprefix(CONTINUE)


def head_of(asked: Asked) -> Lines:
    """The request line and the fields; a connection that goes on after its answer would have to be waited for."""
    fields = [(name, value) for name, value in asked.headers if name.lower() not in ("connection", "content-length")]
    if "host" not in {name.lower() for name, _ in fields}:
        fields = [("Host", "127.0.0.1:8000"), *fields]
    lines = [f"{asked.method} {asked.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return [line.encode("latin-1") for line in (*lines, "Connection: close")]


def chunks(body: bytes, size: int = 1000) -> bytes:
    """A body in chunks."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def whole(lines: Lines, body: bytes = b"") -> bytes:
    return b"\r\n".join((*lines, b"", body))


def in_bytes(asked: Asked) -> bytes:
    """A request, framed as it should be."""
    if asked.chunked:
        return whole([*head_of(asked), b"Transfer-Encoding: chunked"], chunks(asked.body))
    length = [b"Content-Length: %d" % len(asked.body)] if asked.body or asked.method not in ("GET", "HEAD") else []
    return whole([*head_of(asked), *length], asked.body)


LENGTHS = (
    b"%d",
    b"0%d",
    b"00000000%d",
    b"+%d",
    b"-%d",
    b" %d",
    b"%d ",
    b"%d\t",
    b"%d,%d",
    b"%d, %d",
    b"%d.0",
    b"0x%x",
    b"%d_0",
    b"%d;x",
    b"",
    b"9" * 19,
    b"9" * 30,
    b"9" * 5000,
    b"0" * 5000,
    b"\xb2",
)
ENCODINGS = (
    b"chunked",
    b"Chunked",
    b" chunked",
    b"chunked ",
    b"\tchunked",
    b"chunked;x=1",
    b"chunked, chunked",
    b"chunked, identity",
    b"gzip, chunked",
    b"identity",
    b"gzip",
    b"xchunked",
    b"",
    b'"chunked"',
    b"chunked,",
    b",chunked",
    b"chunked\t",
    b"\x0bchunked",
)
ODD_CHUNKS = (
    b"2;x=1\r\n{}\r\n0\r\n\r\n",
    b'2;x="a;b"\r\n{}\r\n0\r\n\r\n',
    b"2;x\n=1\r\n{}\r\n0\r\n\r\n",
    b"2;" + b"x" * 300 + b"\r\n{}\r\n0\r\n\r\n",
    b"2;" + b"x" * 3000 + b"\r\n{}\r\n0\r\n\r\n",
    b"2 \r\n{}\r\n0\r\n\r\n",
    b"2\n{}\n0\n\n",
    b"2\r\n{}\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nX: a\n\r\n",
    b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    b"2\r\n{}\r\n0\r\nContent-Type: text/plain\r\n\r\n",
    b"2\r\n{}\r\n0\r\nContent-Length: 1\r\n\r\n",
    b"2\r\n{}\r\n0\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    b"10001\r\n{}",
    b"fffffffff\r\n{}",
    b"ffffffffffffffff\r\n{}",
    b"fffffffffffffffff\r\n{}",
    b"1\r\nx\r\n" * 30000 + b"0\r\n\r\n",
    b"02\r\n{}\r\n00\r\n\r\n",
    b"000000002\r\n{}\r\n0\r\n\r\n",
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b"+2\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}x0\r\n\r\n",
    b"1\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nX-Trailer: a\r\n\r\n",
    b"2\r\n{}\r\n0\r\nbroken trailer\r\n\r\n",
    b"\r\n{}\r\n0\r\n\r\n",
    b"g\r\n{}\r\n0\r\n\r\n",
    b"0\r\n\r\n",
)
REQUEST_LINES = (
    b" %s %s HTTP/1.1",
    b"%s\t%s HTTP/1.1",
    b"%s %s HTTP/1.1 ",
    b"%s  %s HTTP/1.1",
    b"%s %s  HTTP/1.1",
    b"%s %s HTTP/1.0",
    b"%s %s HTTP/0.9",
    b"%s %s HTTP/1.2",
    b"%s %s HTTP/2.0",
    b"%s %s RTSP/1.0",
    b"%s %s",
    b"%s",
    b"\r\n\r\n%s %s HTTP/1.1",
    b"\n%s %s HTTP/1.1",
    b"%s http://127.0.0.1:99999%s HTTP/1.1",
    b"%s HTTPS://LOCALHOST%s HTTP/1.1",
    b"%s http://%s HTTP/1.1",
    b"%s http:%s HTTP/1.1",
    b"%s ftp://localhost%s HTTP/1.1",
    b"%s http://a@localhost%s HTTP/1.1",
    b"%s http://[::1]%s HTTP/1.1",
    b"%s http://[::1%s HTTP/1.1",
    b"%s localhost:80%s HTTP/1.1",
    b"%s ?%s HTTP/1.1",
    b"%s #%s HTTP/1.1",
    b"%s *%s HTTP/1.1",
    b"%s %s HTTP/1",
    b"%s %s HTTP/1.10",
    b"%s %s http/1.1",
    b"%s %s HTTPS/1.1",
    b"%s %s x HTTP/1.1",
    b"\r\n%s %s HTTP/1.1",
    b"\x16\x03\x01%s %s HTTP/1.1",
    b"%s http://127.0.0.1:8000%s HTTP/1.1",
    b"%s http://evil.example%s HTTP/1.1",
    b"%s //127.0.0.1%s HTTP/1.1",
    b"%s x%s HTTP/1.1",
    b"%s %s#fragment HTTP/1.1",
    b"%s %s\xc3\xa9 HTTP/1.1",
    b"%s %s\x00 HTTP/1.1",
    b"%s %s\x7f HTTP/1.1",
    b'%s %s"<>\\^`{|} HTTP/1.1',
)
FIELD_LINES = (
    b"X-Name : a",
    b"X-Name\t: a",
    b" X-Name: a",
    b"X-Name: a\r\n b",
    b"X-Name: a\r\n\tb",
    b"X-Name",
    b": a",
    b"X Name: a",
    b"X-N\xc3\xa4me: a",
    b"X-Name: \x00",
    b"X-Name: \x01",
    b"X-Name: \x7f",
    b"X-Name: a\rb",
    b"X-Name: a\nX-Other: b",
    b"X-Name: \x80\xff",
    b"X-Name:",
    b"X-Name:a",
    b"X-Name:   a   ",
    b"X-Name: a\t",
    b"X-Name:\ta\t \t",
    b"X-Name: a\tb",
    b"X_Name: a",
    b"X_Long: " + b"x" * 9000,
    b"\r\n".join([b"X_Many: a"] * 98),
    b"Content_Length: x",
    b"X_Forwarded_For: 203.0.113.7",
    b"X_Request_ID: underscored",
    b"Content_Length: 5",
    b"Content_Type: text/plain",
    b"Transfer_Encoding: chunked",
    b"X.Name: a",
    b"X(Name): a",
    b"X/Name: a",
    b'"X": a',
    b"Host: localhost",
    b"Content-Type: text/plain",
    b"Connection: keep-alive",
    b"Connection: Upgrade",
    b"Connection: x, close",
    b"Proxy-Connection: close",
    b"Proxy: http://evil.example",
    b"TE: trailers, chunked",
    b"Trailer: Authorization",
    b"Keep-Alive: timeout=5",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Expect:",
    b"Upgrade: h2c",
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings",
    b"X-Long: " + b"x" * 9000,
    b"X-Long: " + b"x" * 20000,
    b"X-Long: " + b"x" * 300000,
)
PIECES = (
    b"",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x85",
    b"\xff",
    b":",
    b";",
    b"#",
    b"_",
)


def _length_of(asked: Asked) -> bytes:
    return b"Content-Length: %d" % len(asked.body)


def _with_odd_length(draw: Draw, asked: Asked) -> bytes:
    form = draw(st.sampled_from(LENGTHS))
    value = b"Content-Length: " + form % ((len(asked.body),) * form.count(b"%"))
    framing = draw(st.sampled_from(([value], [_length_of(asked), value])))
    return whole([*head_of(asked), *framing], asked.body)


def _with_odd_coding(draw: Draw, asked: Asked) -> bytes:
    coding = b"Transfer-Encoding: " + draw(st.sampled_from(ENCODINGS))
    framing = draw(st.sampled_from(([coding], [coding, _length_of(asked)], [coding, coding])))
    return whole([*head_of(asked), *framing], chunks(asked.body))


def _with_odd_chunks(draw: Draw, asked: Asked) -> bytes:
    return whole([*head_of(asked), b"Transfer-Encoding: chunked"], draw(st.sampled_from(ODD_CHUNKS)))


def _with_odd_line(draw: Draw, asked: Asked) -> bytes:
    form = draw(st.sampled_from(REQUEST_LINES))
    words = (asked.method.encode("latin-1"), asked.target.encode("latin-1"))
    line = form % words[: form.count(b"%s")]
    return whole([line, *head_of(asked)[1:], _length_of(asked)], asked.body)


def _with_odd_field(draw: Draw, asked: Asked) -> bytes:
    lines = head_of(asked)
    at = draw(st.integers(1, len(lines)))
    lines[at:at] = [draw(st.sampled_from(FIELD_LINES))]
    return whole([*lines, _length_of(asked)], asked.body)


def _with_odd_line_ends(draw: Draw, asked: Asked) -> bytes:
    raw = whole([*head_of(asked), _length_of(asked)], asked.body)
    return raw.replace(b"\r\n", draw(st.sampled_from((b"\n", b"\r", b"\r\r\n", b"\n\r"))))


def _without_host(_: Draw, asked: Asked) -> bytes:
    lines = [line for line in head_of(asked) if not line.lower().startswith(b"host:")]
    return whole([*lines, _length_of(asked)], asked.body)


def _cut_off(draw: Draw, asked: Asked) -> bytes:
    raw = in_bytes(asked)
    return raw[: draw(st.integers(1, len(raw)))]


def _with_something_changed(draw: Draw, asked: Asked) -> bytes:
    raw = in_bytes(asked)
    at = draw(st.integers(0, min(len(raw), 300)))
    piece: bytes = draw(st.sampled_from(PIECES))
    return raw[:at] + piece + raw[at + draw(st.integers(0, 2)) :]


MISFRAMINGS: tuple[Callable[[Draw, Asked], bytes], ...] = (
    _with_odd_length,
    _with_odd_coding,
    _with_odd_chunks,
    _with_odd_line,
    _with_odd_field,
    _with_odd_line_ends,
    _with_something_changed,
    _without_host,
    _cut_off,
)


@st.composite
def raw_requests(draw: Draw, known: Known) -> bytes:
    """A request, and now and then something wrong with its framing, whatever else is wrong with it."""
    asked: Asked = draw(requests(known))
    if draw(st.booleans()):
        return in_bytes(asked)
    raw: bytes = draw(st.sampled_from(MISFRAMINGS))(draw, asked)
    return raw
