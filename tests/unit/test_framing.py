"""What is a request and where it ends: both servers' parsers read alike what is given out, the rest is refused."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import httptools
import pytest
from cli.arrivals import Arrivals
from cli.flask_connection import ContractConnection, ContractResponse, ContractWorker
from cli.flask_server import PropagatingLogger
from cli.framing import MAX_CHUNKED, MAX_HEAD, RequestReader
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import AuthError, BodyTooLarge, HeadersTooLarge, MalformedRequest, TargetTooLong
from core.http.admission import MAX_BODY, MAX_FIELD, MAX_FIELDS, MAX_SECONDS, MAX_TARGET
from core.http.edge import Edge
from core.http.wsgi import WsgiEdge
from tests.conftest import make_settings

HEAD = b"POST /v1/login HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def long(length: int | bytes) -> bytes:
    return HEAD + b"Content-Length: %s\r\n\r\n" % (length if isinstance(length, bytes) else b"%d" % length)


def with_fields(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *lines, b"", b""))


def with_line(line: bytes) -> bytes:
    return line + b"\r\nHost: a\r\n\r\n"


Outcome = list[bytes | type[AuthError]]


def read(*parts: bytes) -> Outcome:
    """The requests in these parts of what a client sends, and the error that ends them."""
    reader, found = RequestReader(), Outcome()
    for part in parts:
        reader.receive(part)
        try:
            while (request := reader.next()) is not None:
                found.append(request)
        except AuthError as error:
            return [*found, type(error)]
    return found


def by_bytes(received: bytes) -> Iterable[bytes]:
    return (received[at : at + 1] for at in range(len(received)))


# Whole requests, and what is made of them

PLAIN = b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: "
WHOLE = {
    "nothing but a head": (GET, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "a head without fields": (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"),
    "an empty line before": (b"\r\n" + GET, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "options of the server": (with_line(b"OPTIONS * HTTP/1.1"), b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    "a host in the target": (with_line(b"GET http://b:1/x?y HTTP/1.1"), b"GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n"),
    "nothing behind the host": (with_line(b"GET HTTPS://[::1] HTTP/1.1"), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "a query behind the host": (with_line(b"GET http://b?y HTTP/1.1"), b"GET /?y HTTP/1.1\r\nhost: a\r\n\r\n"),
    "blanks around a value": (with_fields(b"X:\t a b \t "), b"GET / HTTP/1.1\r\nhost: a\r\nx: a b\r\n\r\n"),
    "nothing in a value": (with_fields(b"X:"), b"GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n"),
    "bytes beyond ASCII": (with_fields(b"X: \xe9"), b"GET / HTTP/1.1\r\nhost: a\r\nx: \xe9\r\n\r\n"),
    "names with underscores": (with_fields(b"Content_Length: 5", b"X_: a"), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "the end of the connection": (
        with_fields(b"Connection: x , Close", b"Keep-Alive: 5"),
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ),
    "another option": (with_fields(b"Connection: upgrade"), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "a tunnel": (
        with_line(b"CONNECT / HTTP/1.1"),
        b"CONNECT / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ),
    "no body by its length": (long(0), PLAIN + b"0\r\n\r\n"),
    "a body": (long(5) + b"hello", PLAIN + b"5\r\n\r\nhello"),
    "a body of binary": (long(6) + b"\r\n\r\n\0\xff", PLAIN + b"6\r\n\r\n\r\n\r\n\0\xff"),
    "a body that looks like a request": (long(len(GET)) + GET, PLAIN + b"%d\r\n\r\n" % len(GET) + GET),
    "a length in another case": (HEAD + b"cONTENT-lENGTH:\t 2 \r\n\r\nhi", PLAIN + b"2\r\n\r\nhi"),
    "a length with zeros before": (long(b"0000000005") + b"hello", PLAIN + b"5\r\n\r\nhello"),
    "an expectation": (
        HEAD + b"EXPECT:100-Continue \r\nContent-Length: 2\r\n\r\nhi",
        PLAIN + b"2\r\n\r\nhi",
    ),
    "no chunks": (CHUNKED + b"0\r\n\r\n", PLAIN + b"0\r\n\r\n"),
    "chunks": (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", PLAIN + b"6\r\n\r\nhello!"),
    "chunks of sixteen and more": (
        CHUNKED + b"1A\r\n" + b"x" * 26 + b"\r\n00f\r\n" + b"y" * 15 + b"\r\n0\r\n\r\n",
        PLAIN + b"41\r\n\r\n" + b"x" * 26 + b"y" * 15,
    ),
    "chunks that look like the end": (CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", PLAIN + b"5\r\n\r\n0\r\n\r\n"),
    "chunks with extensions": (
        CHUNKED + b'2;a=b\r\nhi\r\n2 ; a="c;d"\r\nho\r\n0;last\r\n\r\n',
        PLAIN + b"4\r\n\r\nhiho",
    ),
    "chunks with trailers": (
        CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nAuthorization: Bearer x\r\n\r\n",
        PLAIN + b"2\r\n\r\nhi",
    ),
    "a chunk size of nine digits": (CHUNKED + b"000000005\r\nhello\r\n0\r\n\r\n", PLAIN + b"5\r\n\r\nhello"),
    "a chunk extension of 300 bytes": (
        CHUNKED + b"5;a=" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        PLAIN + b"5\r\n\r\nhello",
    ),
    "chunks in another case": (
        HEAD + b"transfer-encoding:  CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        PLAIN + b"2\r\n\r\nhi",
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_request_is_whole_with_its_last_byte_and_not_before(name: str) -> None:
    request, plain = WHOLE[name]
    assert [cut for cut in range(len(request)) if read(request[:cut])] == []
    assert read(request) == [plain]
    assert read(*by_bytes(request)) == [plain]


@pytest.mark.parametrize("name", WHOLE)
def test_what_comes_behind_is_another_request(name: str) -> None:
    request, plain = WHOLE[name]
    assert read(request + request + b"GET / HT") == [plain, plain]
    assert read(request + b"\0") == [plain, MalformedRequest]


# What becomes no request

MALFORMED = {
    "no HTTP": b"hello\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two empty lines": b"\r\n\r\n",
    "an empty line of a bare line feed": b"\n",
    "a blank before": b" GET",
    "an unknown method": b"FETCH / ",
    "a method in small letters": b"get",
    "two blanks behind the method": b"GET  ",
    "two blanks behind the target": b"GET /  ",
    "a blank at the end": b"GET / HTTP/1.1 ",
    "a tab": b"GET\t",
    "a line with four words": b"GET / a",
    "no version": b"GET /\r\n",
    "another version": b"GET / HTTP/1.2",
    "a version of two digits": b"GET / HTTP/1.10\r\n",
    "another protocol": b"GET / RTSP",
    "a fragment": b"GET /#",
    "a control character": b"GET /\x01",
    "a letter beyond ASCII": "GET /é".encode(),
    "a bare line feed": b"GET / HTTP/1.1\n",
    "a bare carriage return": b"GET / HTTP/1.1\rH",
    "a star for another method": b"GET * HTTP/1.1\r\n",
    "a path without a slash": b"GET v1 HTTP/1.1\r\n",
    "a target without a host": b"GET http:///v1 HTTP/1.1\r\n",
    "a user in the target": b"GET http://a@b/v1 HTTP/1.1\r\n",
    "another scheme": b"GET ftp://b/v1 HTTP/1.1\r\n",
    "a tunnel to a host": b"CONNECT a:80 HTTP/1.1\r\n",
    "a tunnel to a URL": b"CONNECT http://a/ HTTP/1.1\r\n",
    "a head of bare line feeds": b"GET / HTTP/1.1\r\nHost: a\n",
    "a carriage return in a value": b"GET / HTTP/1.1\r\nHost: a\rb",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\0",
    "a field without a colon": with_fields(b"X"),
    "a field without a name": with_fields(b": a"),
    "a blank before a colon": with_fields(b"X : a"),
    "a tab before a colon": with_fields(b"X\t: a"),
    "a blank in a name": with_fields(b"X Y: a"),
    "a name beyond ASCII": with_fields(b"X\xe4: a"),
    "a folded value": with_fields(b"X: a", b" b"),
    "a fold at the start": with_line(b"GET / HTTP/1.1\r\n X: a"),
    "two hosts": with_fields(b"Host: a"),
    "two content types": with_fields(b"Content-Type: a", b"content-type: a"),
    "another expectation": with_fields(b"Expect: 200-ok"),
    "an empty length": long(b""),
    "a length of letters": long(b"many"),
    "a length below zero": long(b"-1"),
    "a length with a plus": long(b"+5"),
    "a length with a blank": long(b"1 2"),
    "a length of superscript": long(b"\xb2"),
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "two lengths in one line": long(b"5, 5"),
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: rot13\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two codings in one line": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "identity and chunks": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n",
    "a vertical tab before chunked": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n",
    "chunks of HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0"),
    "no size of a chunk": CHUNKED + b"\r",
    "a size of letters": CHUNKED + b"many",
    "a size below zero": CHUNKED + b"-",
    "a size in C": CHUNKED + b"0x",
    "a size of seventeen digits": CHUNKED + b"0" * 17,
    "a blank behind a size": CHUNKED + b"2 \r",
    "a chunk that ends in a bare line feed": CHUNKED + b"2\n",
    "a chunk without its end": CHUNKED + b"2\r\nhih",
    "data that end in a bare line feed": CHUNKED + b"2\r\nhi\n",
    "an extension with a bare line feed": CHUNKED + b"2;a\n",
    "an extension of 2000 bytes": CHUNKED + b"2;" + b"a" * 2000,
    "a broken trailer": CHUNKED + b"0\r\nX\r\n\r\n",
    "a trailer that ends in a bare line feed": CHUNKED + b"0\r\nX: a\n",
}
TOO_LARGE: dict[str, tuple[bytes, type[AuthError]]] = {
    "a target": (b"GET /" + b"x" * MAX_TARGET, TargetTooLong),
    "a target and its version": (with_line(b"GET /" + b"x" * MAX_TARGET + b" HTTP/9"), TargetTooLong),
    "a head without an end": (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD, HeadersTooLarge),
    "a head with an end": (with_fields(*[b"X: " + b"a" * 3000] * 90), HeadersTooLarge),
    "a field": (with_fields(b"X: " + b"a" * MAX_FIELD), HeadersTooLarge),
    "a field that is left out": (with_fields(b"X_: " + b"a" * MAX_FIELD), HeadersTooLarge),
    "a count of fields": (with_fields(*[b"X: a"] * MAX_FIELDS), HeadersTooLarge),
    "a count of fields that are left out": (with_fields(*[b"X_: a"] * MAX_FIELDS), HeadersTooLarge),
    "a length": (long(MAX_BODY + 1), BodyTooLarge),
    "a length of a thousand digits": (long(b"9" * 1000), BodyTooLarge),
    "a length of five thousand digits": (long(b"9" * 5000), BodyTooLarge),
    "a chunk": (CHUNKED + b"10001\r\n", BodyTooLarge),
    "a chunk of sixteen digits": (CHUNKED + b"f" * 16 + b"\r\n", BodyTooLarge),
    "a second chunk": (CHUNKED + b"8000\r\n" + b"x" * 0x8000 + b"\r\n8001\r\n", BodyTooLarge),
    "many small chunks": (CHUNKED + b"1\r\nx\r\n" * (MAX_CHUNKED // 6 + 1), BodyTooLarge),
    "many small chunks with extensions": (CHUNKED + (b"1;" + b"x" * 1000 + b"\r\nx\r\n") * 200, BodyTooLarge),
    "trailers": (CHUNKED + b"0\r\nX: " + b"a" * MAX_FIELD, HeadersTooLarge),
    "trailers with an end": (CHUNKED + b"0\r\nX: " + b"a" * MAX_FIELD + b"\r\n\r\n", HeadersTooLarge),
}
REFUSED = {**{name: (raw, MalformedRequest) for name, raw in MALFORMED.items()}, **TOO_LARGE}


@pytest.mark.parametrize("name", REFUSED)
def test_what_becomes_no_request_is_refused_at_once(name: str) -> None:
    received, error = REFUSED[name]
    assert read(received) == [error]
    assert read(received + GET) == [error]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_for_the_same_however_it_comes(name: str) -> None:
    received, error = REFUSED[name]
    size = max(1, len(received) // 500)
    assert read(*(received[at : at + size] for at in range(0, len(received), size))) == [error]


def test_as_much_as_is_allowed_is_read() -> None:
    assert len(read(with_line(b"GET /" + b"x" * (MAX_TARGET - 1) + b" HTTP/1.1"))) == 1
    assert HeadersTooLarge not in read(with_fields(b"X: " + b"a" * (MAX_FIELD - 1)))
    assert HeadersTooLarge not in read(with_fields(*[b"X: a"] * (MAX_FIELDS - 1)))
    assert read(long(MAX_BODY) + b"x" * (MAX_BODY - 1)) == []
    assert read(long(MAX_BODY) + b"x" * MAX_BODY) == [PLAIN + b"%d\r\n\r\n" % MAX_BODY + b"x" * MAX_BODY]
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert read(CHUNKED + chunk * 2 + b"0\r\n\r\n") == [PLAIN + b"%d\r\n\r\n" % MAX_BODY + b"x" * MAX_BODY]


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", False),
        (b"\r", False),
        (b"\r\n", False),
        (b"\r\nG", True),
        (b"G", True),
        (GET, False),
        (GET + b"\r\n", False),
        (CHUNKED, True),
    ],
)
def test_an_empty_line_is_no_request_that_is_waited_for(received: bytes, *, expected: bool) -> None:
    reader = RequestReader()
    reader.receive(received)
    while reader.next() is not None:
        pass
    assert reader.has_begun is expected


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"HEAD", False),
        (b"HEAD /", True),
        (b"\r\nHEAD  /", True),
        (b"GET / ", False),
        (b"HEAD / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", True),
        (long(6) + b"HEAD ", False),
    ],
)
def test_head_is_known_where_it_stands(received: bytes, *, expected: bool) -> None:
    reader = RequestReader()
    reader.receive(received)
    with contextlib.suppress(MalformedRequest):
        assert reader.next() is None
    assert reader.asks_for_head is expected


# 100-continue

EXPECTING = {
    "as it should be": b"Expect: 100-continue\r\n",
    "in another case": b"EXPECT:100-Continue \r\n",
    "with blanks": b"expect: \t 100-continue\t\r\n",
}
NOT_EXPECTING = {
    "nothing": b"",
    "in another field": b"X-Expect: 100-continue\r\n",
    "in a value": b"X-Note: Expect: 100-continue\r\n",
}


def waiting(received: bytes) -> RequestReader:
    reader = RequestReader()
    reader.receive(received)
    assert reader.next() is None
    return reader


@pytest.mark.parametrize("name", EXPECTING)
def test_who_expects_to_be_told_is_told_once_when_the_head_is_there(name: str) -> None:
    head = HEAD + EXPECTING[name] + b"Content-Length: 5\r\n\r\n"
    assert [cut for cut in range(len(head)) if waiting(head[:cut]).head is not None] == []
    found = waiting(head).head
    assert found is not None
    assert [found.take_expectation(), found.take_expectation()] == [True, False]


@pytest.mark.parametrize("name", NOT_EXPECTING)
def test_who_expects_nothing_is_told_nothing(name: str) -> None:
    found = waiting(HEAD + NOT_EXPECTING[name] + b"Content-Length: 5\r\n\r\n").head
    assert found is not None
    assert not found.take_expectation()


def test_a_client_of_http_1_0_is_told_nothing() -> None:
    found = waiting(HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n").head
    assert found is not None
    assert not found.take_expectation()


# Properties

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_.!#$%&'*+^`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("abcdefghijklmnopqrstuvwxyz ,;=/\"'\t\xe9", max_size=30).map(lambda text: text.encode("latin-1"))
RESERVED = (
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"host",
    b"content-type",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
)
FIELD = st.tuples(TOKEN.filter(lambda name: name.lower() not in RESERVED), VALUE)
BODY = st.binary(max_size=60) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"])
METHODS = st.sampled_from([b"GET", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD", b"PUT", b"TRACE"])
TARGETS = st.sampled_from(
    [b"/", b"*", b"//a", b"/v1/login", b"/?", b"/v1/sessions/1?a=b%20c", b'/"<>\\^`{|}[]', b"/%zz"]
)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    parts = []
    while body:
        size = draw(st.integers(1, len(body)))
        written = b"%0*x" % (draw(st.integers(1, 8)), size)
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b' ; a="b c"', b";a=" + b"x" * 200]))
        parts += [draw(st.sampled_from([written, written.upper()])), extension, b"\r\n", body[:size], b"\r\n"]
        body = body[size:]
    trailers = draw(st.lists(FIELD, max_size=2))
    parts += [b"0\r\n", *(b"%s: %s\r\n" % trailer for trailer in trailers), b"\r\n"]
    return b"".join(parts)


@dataclass
class Message:
    """A request as a parser reads it."""

    method: bytes = b""
    target: bytes = b""
    version: str = ""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    ends: bool = False


@st.composite
def valid_requests(draw: st.DrawFn) -> tuple[bytes, Message]:
    """A request, and how it is meant."""
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    method, target = draw(METHODS), draw(TARGETS)
    target = target if target != b"*" or method == b"OPTIONS" else b"/"
    fields = draw(st.lists(FIELD, max_size=5))
    body = draw(st.none() | BODY)
    framing = b""
    if body is not None:
        in_chunks = version == "1.1" and draw(st.booleans())
        framing = b"Transfer-Encoding: chunked\r\n" if in_chunks else b"Content-Length: %d\r\n" % len(body)
    lines = [b"%s: %s\r\n" % field for field in fields]
    lines.insert(draw(st.integers(0, len(lines))), framing)
    sent = draw(chunked(body)) if body is not None and framing.startswith(b"T") else body or b""
    lead = draw(st.sampled_from([b"", b"\r\n"]))
    line = b"%s %s HTTP/%s\r\nHost: a\r\n" % (method, target, version.encode())
    kept = [(name.lower(), value.strip(b" \t")) for name, value in fields if b"_" not in name]
    meant = Message(method, target, version, [(b"host", b"a"), *kept], body or b"", ends=version == "1.0")
    if body is not None:
        meant.fields.append((b"content-length", b"%d" % len(body)))
    return lead + line + b"".join(lines) + b"\r\n" + sent, meant


class Uvicorn:
    """What httptools reads, which uvicorn uses."""

    def __init__(self, request: bytes) -> None:
        self.found = Message()
        self.is_complete = 0
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(request)
        assert self.is_complete == 1

    def on_url(self, url: bytes) -> None:
        self.found.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.fields.append((name, value))

    def on_headers_complete(self) -> None:
        # Where uvicorn asks: behind the message, the parser has forgotten some of it.
        self.found.method, self.found.version = self._parser.get_method(), self._parser.get_http_version()
        self.found.ends = not self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.found.body += body

    def on_message_complete(self) -> None:
        self.is_complete += 1


def as_gunicorn(request: bytes) -> Message:
    """What gunicorn's parser reads."""
    config = Config()
    config.set("forwarded_allow_ips", "")
    parser = RequestParser(config, iter([request]), ("127.0.0.1", 1))
    found = next(parser)
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]
    version = f"{found.version[0]}.{found.version[1]}"
    method, target, body = found.method.encode(), found.uri.encode(), found.body.read()
    assert parser.unreader.take_buffered() == b""
    return Message(method, target, version, fields, body, ends=found.should_close())


@settings(max_examples=500, deadline=None)
@given(valid_requests())
def test_both_parsers_read_what_was_meant(case: tuple[bytes, Message]) -> None:
    sent, meant = case
    (request,) = read(sent)
    assert isinstance(request, bytes)
    assert Uvicorn(request).found == meant
    assert as_gunicorn(request) == meant


@settings(max_examples=200, deadline=None)
@given(valid_requests())
def test_a_valid_request_cut_anywhere_is_not_whole_and_uncut_it_is(case: tuple[bytes, Message]) -> None:
    sent, _ = case
    assert [cut for cut in range(len(sent)) if read(sent[:cut])] == []
    assert len(read(sent)) == 1
    assert read(sent) == read(*by_bytes(sent))


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"#",
        b"0",
        b"5",
        b"a",
        b"fffff",
        b"0000000",
        b"x" * 300,
        b"x" * 9000,
        b"GET / HTTP/1.1\r\n",
        b"HEAD http://a HTTP/1.0\r\n",
        b"POST /v1/login HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: ",
        b"Content-Length: 5\r\n",
        b"Content-Length: 70000\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: ",
        b"chunked",
        b"identity",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"5;a=b\r\n",
        b'"',
        b"\0",
        b"\xff",
        b"X: a\r\n",
        b"X_: a\r\n" * 50,
    ]
)
SOUP = st.builds(
    lambda head, rest: head + b"".join(rest),
    st.sampled_from([b"", b"\r\n", HEAD, CHUNKED, long(5), HEAD + b"Transfer-Encoding: "]),
    st.lists(PIECES, max_size=14),
)


@settings(max_examples=1000, deadline=None)
@given(SOUP | st.binary(max_size=300), st.lists(st.integers(0, 10000), max_size=10))
def test_how_it_is_cut_changes_nothing(received: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(received)) for cut in cuts), len(received)]
    parts = [received[start:end] for start, end in pairwise(ends)]
    assert read(*parts) == read(received)


@settings(max_examples=1000, deadline=None)
@given(SOUP)
@example(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
def test_both_parsers_read_alike_whatever_is_given_out(received: bytes) -> None:
    for request in read(received):
        if isinstance(request, bytes):
            assert Uvicorn(request).found == as_gunicorn(request)


# What is whole is given to a thread, and a thread must find all it needs: whatever it still waits for, a client that
# sends it byte by byte lets it wait for as long as it likes.


class WaitedError(BaseException):
    """More was asked for than there is. No error that anybody handles."""


class Connection:
    """A connection on which nothing more comes, in place of a socket."""

    def __init__(self) -> None:
        self.sent = b""
        self._timeout: float | None = None

    def recv(self, _size: int) -> bytes:
        if self._timeout is None:
            raise WaitedError
        assert self._timeout <= MAX_SECONDS
        raise TimeoutError

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    sendall = send

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 5000

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - as a socket has it
        self._timeout = None if flag else 0

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds


def _answer_nothing(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


def a_worker() -> ContractWorker:
    """A worker of the Flask door with its edge, and nothing behind that."""
    config = Config()
    config.set("limit_request_fields", 2 * MAX_FIELDS)
    config.set("limit_request_field_size", 2 * MAX_FIELD)
    config.set("forwarded_allow_ips", "")
    worker = object.__new__(ContractWorker)
    worker.cfg, worker.log, worker.nr, worker.max_requests = config, PropagatingLogger(config), 0, sys.maxsize
    worker.alive, worker.keepalived_conns, worker.max_keepalived = True, [], 10
    worker.edge = Edge(make_settings(), door="flask")
    worker.wsgi = WsgiEdge(_answer_nothing, worker.edge)
    return worker


WORKER = a_worker()


@pytest.fixture(autouse=True, scope="module")
def _response() -> Iterator[None]:
    """As `serve` puts it in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wsgi, "Response", ContractResponse)
        yield


def connected(to: Any) -> ContractConnection:
    """A connection as the worker makes it."""
    return ContractConnection(WORKER.cfg, to, ("127.0.0.1", 50000), ("127.0.0.1", 5000), WORKER.edge)


def answer_to(request: bytes) -> bytes | None:
    """What a thread of the Flask door answers to a request; None where it would wait for more."""
    connection = Connection()
    conn = connected(connection)
    conn.hand_over(request)
    try:
        WORKER.handle(conn)
    except WaitedError:
        return None
    return connection.sent


@pytest.mark.parametrize("name", WHOLE)
def test_a_thread_answers_what_is_whole(name: str) -> None:
    answer = answer_to(WHOLE[name][1])
    assert answer is not None
    assert answer.startswith((b"HTTP/1.1 204 ", b"HTTP/1.0 204 "))


@settings(max_examples=500, deadline=None)
@given(SOUP)
def test_whatever_a_thread_is_given_it_answers_and_waits_for_nothing(received: bytes) -> None:
    requests = [request for request in read(received) if isinstance(request, bytes)]
    answers = [answer_to(request) for request in requests]
    assert [answer for answer in answers if not answer or b" 500 " in answer.partition(b"\r")[0]] == []


class Broken:
    """What has arrived, where something is wrong with our own code."""

    def take(self, _data: bytes) -> None:
        raise ZeroDivisionError


def test_a_mistake_at_one_connection_ends_that_connection_and_not_the_loop() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(GET)
        conn = connected(ours)
        conn.arrivals, WORKER.nr_conns = cast("Arrivals", Broken()), 1
        WORKER.enqueue_req(conn)
        assert theirs.recv(65536).startswith(b"HTTP/1.1 500 ")
        assert WORKER.nr_conns == 0


def test_a_connection_has_what_a_socket_has() -> None:
    names = [name for name in vars(Connection) if not name.startswith("_")]
    assert all(hasattr(socket.socket, name) for name in names)
