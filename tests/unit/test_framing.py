"""Where a request ends: never before the server's parser would say so, and not a byte later than it does."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.flask_server import ContractResponse, ContractWorker, PropagatingLogger
from cli.framing import MAX_HEAD, awaits_go_ahead, is_whole, without_expectation
from core.http.edge import MAX_BODY, MAX_FIELD, MAX_FIELDS, MAX_SECONDS, Edge
from core.http.wsgi import WsgiEdge
from tests.conftest import make_settings

HEAD = b"POST /v1/login HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def long(length: int | bytes) -> bytes:
    return HEAD + b"Content-Length: %s\r\n\r\n" % (length if isinstance(length, bytes) else b"%d" % length)


# Whole requests, to be cut everywhere

WHOLE = {
    "nothing but a head": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a head without fields": b"GET / HTTP/1.0\r\n\r\n",
    "an empty line before": b"\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "options of the server": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "no body by its length": long(0),
    "a body": long(5) + b"hello",
    "a body of binary": long(6) + b"\r\n\r\n\0\xff",
    "a body that looks like a request": long(18) + b"GET / HTTP/1.1\r\n\r\n",
    "a length in another case": HEAD + b"cONTENT-lENGTH:\t 2 \r\n\r\nhi",
    "no chunks": CHUNKED + b"0\r\n\r\n",
    "chunks": CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
    "chunks of sixteen and more": CHUNKED + b"1A\r\n" + b"x" * 26 + b"\r\n00f\r\n" + b"y" * 15 + b"\r\n0\r\n\r\n",
    "chunks that look like the end": CHUNKED + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    "chunks with extensions": CHUNKED + b'2;a=b\r\nhi\r\n2 ; a="c;d"\r\nho\r\n0;last\r\n\r\n',
    "chunks with trailers": CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    "a chunk size of nine digits": CHUNKED + b"000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk extension of 300 bytes": CHUNKED + b"5;a=" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "chunks after no coding": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks in another case": HEAD + b"transfer-encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_request_is_whole_with_its_last_byte_and_not_before(name: str) -> None:
    request = WHOLE[name]
    assert [cut for cut in range(len(request)) if is_whole(request[:cut])] == []
    assert is_whole(request)


@pytest.mark.parametrize("name", WHOLE)
def test_a_request_behind_it_does_not_matter(name: str) -> None:
    assert is_whole(WHOLE[name] + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert is_whole(WHOLE[name] + b"GET / HT")


NOT_WORTH_WAITING = {
    "no HTTP": b"hello\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a line with four words": b"GET / a HTTP/1.1\r\n",
    "no version": b"GET /\r\n",
    "a control character": b"GET /\x01",
    "a letter beyond ASCII": "GET /é".encode(),
    "a bare line feed": b"GET / HTTP/1.1\n",
    "more than any head has": b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * MAX_HEAD,
    "a length of letters": long(b"many"),
    "a length below zero": long(b"-1"),
    "a length with a plus": long(b"+5"),
    "a length of six digits": long(100_000),
    "a length of a thousand digits": long(b"9" * 1000),
    "a length with a blank": long(b"1 2"),
    "an unknown coding": HEAD + b"Transfer-Encoding: rot13\r\n\r\n",
    "no size of a chunk": CHUNKED + b"\r\n",
    "a size of letters": CHUNKED + b"many\r\n",
    "a size below zero": CHUNKED + b"-1\r\n",
    "a chunk without its end": CHUNKED + b"2\r\nhiho\r\n",
}


@pytest.mark.parametrize("name", NOT_WORTH_WAITING)
def test_what_becomes_no_request_is_given_to_the_parser_at_once(name: str) -> None:
    assert is_whole(NOT_WORTH_WAITING[name])


def test_a_body_is_not_collected_beyond_what_is_refused() -> None:
    assert not is_whole(long(MAX_BODY) + b"x" * (MAX_BODY - 1))
    assert is_whole(long(MAX_BODY) + b"x" * MAX_BODY)
    assert is_whole(long(99_999) + b"x" * (MAX_BODY + 1))
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert not is_whole(CHUNKED + chunk * 2)
    assert is_whole(CHUNKED + chunk * 5)


def test_with_a_length_and_chunks_the_chunks_count() -> None:
    """The parser refuses both together; until then neither hides the other."""
    both = HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert not is_whole(both + b"5\r\nhel")
    assert is_whole(both + b"5\r\nhello\r\n0\r\n\r\n")


# 100-continue

EXPECTING = {
    "as it should be": b"Expect: 100-continue\r\n",
    "in another case": b"EXPECT:100-Continue \r\n",
    "with blanks": b"expect: \t 100-continue\t\r\n",
}
NOT_EXPECTING = {
    "nothing": b"",
    "something else": b"Expect: 200-ok\r\n",
    "more than that": b"Expect: 100-continue, other\r\n",
    "in another field": b"X-Expect: 100-continue\r\n",
    "in a value": b"X-Note: Expect: 100-continue\r\n",
}


@pytest.mark.parametrize("name", EXPECTING)
def test_who_expects_to_be_told_is_told_when_the_head_is_there(name: str) -> None:
    head = HEAD + EXPECTING[name] + b"Content-Length: 5\r\n\r\n"
    assert [cut for cut in range(len(head)) if awaits_go_ahead(head[:cut])] == []
    assert awaits_go_ahead(head)
    assert awaits_go_ahead(head + b"hel")
    assert without_expectation(head + b"hello") == HEAD + b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("name", NOT_EXPECTING)
def test_who_expects_nothing_is_told_nothing(name: str) -> None:
    assert not awaits_go_ahead(HEAD + NOT_EXPECTING[name] + b"Content-Length: 5\r\n\r\n")


def test_an_expectation_in_the_body_is_none() -> None:
    body = b"\r\nExpect: 100-continue\r\n\r\n"
    assert not awaits_go_ahead(long(len(body)) + body)


def test_only_the_expectation_of_the_head_is_taken_away() -> None:
    body = b"\r\nExpect: 100-continue\r\n\r\n"
    expecting = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert without_expectation(expecting + body) == long(len(body)) + body


# Properties

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("abcdefghijklmnopqrstuvwxyz ,;=/\"'", max_size=30).map(lambda text: text.strip().encode())
RESERVED = (b"content-length", b"transfer-encoding", b"expect", b"host")
FIELD = st.tuples(TOKEN.filter(lambda name: name not in RESERVED), VALUE)
BODY = st.binary(max_size=60) | st.sampled_from([b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    parts = []
    for chunk in chunks:
        size = b"%0*x" % (draw(st.integers(1, 8)), len(chunk))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b' ; a="b c"', b";a=" + b"x" * 200]))
        parts += [draw(st.sampled_from([size, size.upper()])), extension, b"\r\n", chunk, b"\r\n"]
    trailers = draw(st.lists(FIELD, max_size=2))
    parts += [b"0\r\n", *(b"X-%s: %s\r\n" % trailer for trailer in trailers), b"\r\n"]
    return b"".join(parts)


@st.composite
def valid_requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD"]))
    target = draw(st.sampled_from([b"/", b"/v1/login", b"/v1/sessions/1?a=b%20c", b"*"]))
    fields = [b"%s: %s\r\n" % field for field in draw(st.lists(FIELD, max_size=5))]
    framing, body = draw(
        st.one_of(
            st.just((b"", b"")),
            BODY.map(lambda found: (b"Content-Length: %d\r\n" % len(found), found)),
            chunked().map(lambda found: (b"Transfer-Encoding: chunked\r\n", found)),
        )
    )
    fields.insert(draw(st.integers(0, len(fields))), framing)
    lead = draw(st.sampled_from([b"", b"\r\n"]))
    return lead + b"%s %s HTTP/1.1\r\nHost: a\r\n" % (method, target) + b"".join(fields) + b"\r\n" + body


@settings(max_examples=300, deadline=None)
@given(valid_requests())
def test_a_valid_request_cut_anywhere_is_not_whole_and_uncut_it_is(request: bytes) -> None:
    assert [cut for cut in range(len(request)) if is_whole(request[:cut])] == []
    assert is_whole(request)
    assert answer_to(request)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300) | st.lists(st.sampled_from(list(WHOLE.values())), max_size=3).map(b"".join))
def test_no_bytes_make_it_raise(received: bytes) -> None:
    for cut in {0, 1, len(received) // 2, len(received)}:
        assert is_whole(received[:cut]) in (True, False)
        assert awaits_go_ahead(received[:cut]) in (True, False)
        assert isinstance(without_expectation(received[:cut]), bytes)


# What is whole here is given to a thread, and a thread must find all it needs: whatever it still waits for, a client
# that sends it byte by byte lets it wait for as long as it likes.


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
    config.set("limit_request_fields", MAX_FIELDS)
    config.set("limit_request_field_size", 2 * MAX_FIELD)
    config.set("forwarded_allow_ips", "")
    worker = object.__new__(ContractWorker)
    worker.cfg, worker.log, worker.nr, worker.max_requests = config, PropagatingLogger(config), 0, sys.maxsize
    worker.alive, worker.keepalived_conns, worker.max_keepalived = True, [], 10
    worker.wsgi = WsgiEdge(_answer_nothing, Edge(make_settings(), door="flask"))
    return worker


WORKER = a_worker()


@pytest.fixture(autouse=True, scope="module")
def _response() -> Iterator[None]:
    """As `serve` puts it in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wsgi, "Response", ContractResponse)
        yield


def answer_to(received: bytes) -> bytes | None:
    """What a thread of the Flask door answers to what has come; None where it would wait for more."""
    connection = Connection()
    conn = TConn(WORKER.cfg, connection, ("127.0.0.1", 50000), ("127.0.0.1", 5000))
    conn.received, conn.deadline, conn.is_told, conn.data_ready = received, None, False, True
    try:
        WORKER.handle(conn)
    except WaitedError:
        return None
    return connection.sent


@pytest.mark.parametrize("name", WHOLE)
def test_a_thread_answers_what_is_whole(name: str) -> None:
    answer = answer_to(WHOLE[name])
    assert answer is not None
    assert answer.startswith((b"HTTP/1.1 204 ", b"HTTP/1.0 204 "))


@pytest.mark.parametrize("name", NOT_WORTH_WAITING)
def test_what_becomes_no_request_is_refused_at_once_and_not_waited_for(name: str) -> None:
    answer = answer_to(NOT_WORTH_WAITING[name])
    assert answer is not None, "a thread waits for more"
    assert answer.startswith(b"HTTP/1.1 4"), "closed without an answer"


CUT_SHORT = {
    "two empty lines": b"\r\n\r\n",
    "many empty lines": b"\r\n" * 10,
    "two empty lines and a request": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n",
    "an empty line and half of one": b"\r\n\r",
    "half an empty line": b"\r",
    "an empty line of a bare line feed": b"\n\nGET / HTTP/1.1\r\nHost: a\r\n",
    "a head that ends in bare line feeds": b"GET / HTTP/1.1\r\nHost: a\n\n",
    "a head that ends in mixed line ends": b"GET / HTTP/1.1\r\nHost: a\r\n\nX: b\r\n",
    "a chunk size of nine digits": CHUNKED + b"000000005\r\nhe",
    "a chunk extension of 300 bytes": CHUNKED + b"5;a=" + b"x" * 300 + b"\r\nhe",
    "a chunk of one megabyte": CHUNKED + b"100000\r\nhe",
    "a chunk of more than is taken": CHUNKED + b"10001\r\nhe",
    "many chunks and a large one": CHUNKED + b"2\r\nhi\r\n" * 3 + b"fffff\r\nhe",
    "trailers that go on": CHUNKED + b"0\r\nX: a\r\n",
    "trailers of bare line feeds": CHUNKED + b"0\r\nX: a\n\n",
    "a chunk extension with a bare line feed": CHUNKED + b"5;a\nb\r\nhe",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n",
    "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "two codings the other way": HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two codings in one line": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhe",
    "identity and chunks": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n5\r\nhe",
    "chunks with a blank before": HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n5\r\nhe",
    "a length with zeros before": long(b"0000000005") + b"he",
    "a length in another alphabet": long("\u0665".encode()) + b"he",
    "a length of superscript": long("\xb2".encode("latin-1")) + b"he",
    "a folded length": HEAD + b"X: a\r\n Content-Length: 0\r\nContent-Length: 5\r\n\r\nhe",
    "a length with a blank before its colon": HEAD + b"Content-Length : 5\r\n\r\nhe",
    "a length and an underscore": HEAD + b"Content_Length: 0\r\nContent-Length: 5\r\n\r\nhe",
    "a body of HTTP/1.0 in chunks": CHUNKED.replace(b"1.1", b"1.0") + b"5\r\nhe",
    "a version of two digits": b"GET / HTTP/1.10\r\nHost: a\r\n",
    "an empty length": long(b"") + b"he",
    "an expectation": HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhe",
    "an upgrade": HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhe",
}


@pytest.mark.parametrize("name", CUT_SHORT)
def test_no_thread_waits_for_what_is_not_there_yet(name: str) -> None:
    received = CUT_SHORT[name]
    parts = [received[:end] for end in range(1, len(received) + 1)]
    assert [part for part in parts if is_whole(part) and answer_to(part) is None] == []


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
        b"0",
        b"5",
        b"a",
        b"fffff",
        b"0000000",
        b"x" * 300,
        b"GET / HTTP/1.1\r\n",
        b"POST /v1/login HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: ",
        b"Content-Length: 5\r\n",
        b"Content-Length: 70000\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: ",
        b"chunked",
        b"identity",
        b"gzip",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"5;a=b\r\n",
        b'"',
        b"\0",
        b"\xff",
        b"X: a\r\n",
    ]
)
SOUP = st.builds(
    lambda head, rest: head + b"".join(rest),
    st.sampled_from([b"", b"\r\n", HEAD, CHUNKED, long(5), HEAD + b"Transfer-Encoding: "]),
    st.lists(PIECES, max_size=14),
)


@settings(max_examples=1500, deadline=None)
@given(SOUP)
def test_whatever_a_thread_is_given_it_does_not_wait_for_more(received: bytes) -> None:
    assert not (is_whole(received) and answer_to(received) is None)


def test_a_connection_has_what_a_socket_has() -> None:
    names = [name for name in vars(Connection) if not name.startswith("_")]
    assert all(hasattr(socket.socket, name) for name in names)
