"""Requests as bytes, and both servers, each over a world of its own, to send them to."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

from cli.framing import is_whole
from core.http.edge import MAX_FIELD, MAX_FIELDS
from tests.drivers import Answer
from tests.fuzz.strategies import requests
from tests.fuzz.worlds import Asked, Known, copy_database, settled
from tests.servers import parsed

Draw = Callable[..., Any]
Lines = list[bytes]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SECONDS = 15  # more than either server gives a request to arrive


@dataclass(frozen=True, repr=False)
class LiveTwins:
    """Both servers, each in a process of its own and over its own copy of one world."""

    flask: str
    fastapi: str
    known: Known
    folder: Path

    def reset(self) -> None:
        """Bring both worlds back to their beginning, behind the servers' backs."""
        for framework in ("flask", "fastapi"):
            copy_database(self.folder / "template.db", self.folder / f"{framework}.db")

    def answers(self, raw: bytes) -> tuple[Answer, Answer]:
        """What both send back before they close the connection, asked at the same time: some requests take long."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(exchange, (self.flask, self.fastapi), (raw, raw))
        assert first, "flask closed the connection without an answer"
        assert second, "fastapi closed the connection without an answer"
        return parsed(first), parsed(second)

    def ask(self, raw: bytes) -> Answer:
        """Send both the same, and insist on the same answer."""
        first, second = self.answers(raw)
        assert first.status < 500, f"flask: {first.status} {first.body!r}"
        assert second.status < 500, f"fastapi: {second.status} {second.body!r}"
        if raw.lstrip().startswith(b"HEAD "):  # what gunicorn's parser refuses has a body; a named case
            first, second = replace(first, body=b""), replace(second, body=b"")
        assert settled(first, by_the_clock=True) == settled(second, by_the_clock=True)
        return first


def exchange(url: str, raw: bytes) -> bytes:
    """Send bytes and read until the server closes or resets the connection; an interim answer is left out."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 80), SECONDS) as connection:
        with contextlib.suppress(ConnectionError):  # it may answer and close before it has read everything
            connection.sendall(raw)
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
    # httptools leaves a tab behind a value; a named case.
    stripped = (f"{name}: {value.rstrip(' ' + chr(9))}" for name, value in fields)
    lines = [f"{asked.method} {asked.target} HTTP/1.1", *stripped]
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


# Forms that the servers do not take alike stand in `test_named_cases.py`, each with a case of its own.
LENGTHS = (b"%d", b"0%d", b"+%d", b"-%d", b" %d", b"%d,%d", b"%d, %d", b"%d.0", b"0x%x", b"%d_0", b"%d;x", b"")
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
)
ODD_CHUNKS = (
    b"2;x=1\r\n{}\r\n0\r\n\r\n",
    b'2;x="a;b"\r\n{}\r\n0\r\n\r\n',
    b"2 \r\n{}\r\n0\r\n\r\n",
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
    b"%s %s HTTP/1.0",
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
    b"X_Name: a",
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
    b"Proxy: http://evil.example",
    b"TE: trailers, chunked",
    b"Trailer: Authorization",
    b"Keep-Alive: timeout=5",
    b"Expect: 100-continue",
    b"Upgrade: h2c",
    b"X-Long: " + b"x" * 9000,
    b"X-Long: " + b"x" * 20000,
)


_TARGET = re.compile(rb"\A\s*\S+[ \t](/|http:|x/)|\AOPTIONS \*")
"""Targets of other forms have named cases."""


@st.composite
def raw_requests(draw: Draw, known: Known) -> bytes:
    """A request, and now and then something wrong with its framing."""
    is_misframed = draw(st.booleans())
    # Of two faults, each server meets another one first; so here there is one.
    asked = draw(
        requests(known, (0,)).filter(lambda right: "%" not in right.target) if is_misframed else requests(known)
    )
    raw = in_bytes(asked)
    if is_misframed:
        lines, kind = head_of(asked), draw(st.integers(0, 5))
        at = draw(st.integers(1, len(lines)))
        length = b"Content-Length: %d" % len(asked.body)
        if kind == 0:
            form = draw(st.sampled_from(LENGTHS))
            value = form % ((len(asked.body),) * form.count(b"%"))
            lines += draw(st.sampled_from(([b"Content-Length: " + value], [length, b"Content-Length: " + value])))
            raw = whole(lines, asked.body)
        elif kind == 1:
            encoding = b"Transfer-Encoding: " + draw(st.sampled_from(ENCODINGS))
            both = draw(st.sampled_from(([encoding], [encoding, length], [encoding, encoding])))
            raw = whole([*lines, *both], chunks(asked.body))
        elif kind == 2:
            raw = whole([*lines, b"Transfer-Encoding: chunked"], draw(st.sampled_from(ODD_CHUNKS)))
        elif kind == 3:
            path, target = asked.method.encode("latin-1"), asked.target.encode("latin-1")
            raw = whole([draw(st.sampled_from(REQUEST_LINES)) % (path, target), *lines[1:], length], asked.body)
        elif kind == 4:
            lines[at:at] = [draw(st.sampled_from(FIELD_LINES))]
            raw = whole([*lines, length], asked.body)
        else:
            raw = whole([*lines, length], asked.body).replace(b"\r\n", draw(st.sampled_from((b"\n", b"\r\r\n"))))
    return bytes(raw)


def complete_requests(known: Known) -> st.SearchStrategy[bytes]:
    """Requests of which nothing is missing: for those that never end, both servers wait ten seconds."""
    return raw_requests(known).filter(
        lambda raw: is_whole(raw) and _TARGET.search(raw) is not None and not _is_torn(raw)
    )


def _is_torn(raw: bytes) -> bool:
    """Whether a doubled field is not its only fault: gunicorn's parser and the edge meet the two in another order."""
    head = raw.lower().partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    is_large = len(lines) > MAX_FIELDS or len(head) > MAX_FIELD
    return is_large and any(
        sum(line.startswith(name) for line in lines) > 1 for name in (b"host:", b"content-type:", b"authorization:")
    )
