"""What is answered on a connection to what becomes no request."""

from __future__ import annotations

import re

import pytest
import structlog
from cli.arrivals import GO_AHEAD, Arrivals, Refused

from core.errors import MalformedRequest, RequestTimeout
from core.http.edge import Edge
from core.settings import HttpSettings
from tests.conftest import make_settings
from tests.drivers import Answer
from tests.servers import parsed

ORIGIN = "https://app.example.com"
EDGE = Edge(make_settings(http=HttpSettings(cors_origins=(ORIGIN,))), door="fastapi")
FIELDS = b"Host: a\r\nX-Request-ID: mine\r\nOrigin: " + ORIGIN.encode() + b"\r\n"
LOGIN = b"POST /v1/login HTTP/1.1\r\n" + FIELDS


def having(received: bytes) -> Arrivals:
    arrivals = Arrivals(EDGE, "127.0.0.1")
    arrivals.take(received)
    return arrivals


def refusal(received: bytes) -> Answer:
    found = having(received).next()
    assert isinstance(found, Refused)
    return parsed(found.answer)


def test_what_cannot_be_read_is_told_so_under_a_new_name() -> None:
    answer = refusal(b"GET / HTTP/1.1\r\n" + FIELDS + b"broken\r\n\r\n")
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")
    assert re.fullmatch("[0-9a-f]{32}", answer.header("X-Request-ID") or "")
    assert answer.json["request_id"] == answer.header("X-Request-ID")
    assert answer.header("Connection") == "close"
    assert answer.header("Content-Length") == str(len(answer.body))
    assert answer.header("Vary") == "Origin"


REFUSED_BY_THE_HEAD = {
    "a length beyond the limit": (LOGIN + b"Content-Length: 65537\r\n\r\n", 413),
    "a method that is not there": (LOGIN.replace(b"POST", b"PUT") + b"Content-Length: 5\r\n\r\n", 405),
    "a preflight with a body": (LOGIN.replace(b"POST", b"OPTIONS") + b"Content-Length: 5\r\n\r\n", 204),
    "two slashes": (LOGIN.replace(b" /", b" //") + b"Content-Length: 5\r\n\r\n", 404),
    "two codings": (LOGIN + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
    "an upgrade": (LOGIN + b"Upgrade: h2c\r\nContent-Length: 5\r\n\r\n", 400),
    "no host": (LOGIN.replace(b"Host: a\r\n", b"") + b"Content-Length: 5\r\n\r\n", 400),
    "101 fields": (LOGIN + b"X: a\r\n" * 98 + b"\r\n", 431),
    "chunks that are none": (LOGIN + b"Transfer-Encoding: chunked\r\n\r\nx", 400),
    "a chunk beyond the limit": (LOGIN + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", 413),
    "such a chunk at no path": (LOGIN.replace(b" /", b" //") + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", 404),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_HEAD)
def test_what_has_a_head_is_answered_by_its_name_and_to_its_origin(name: str) -> None:
    received, status = REFUSED_BY_THE_HEAD[name]
    answer = refusal(received)
    assert (answer.status, answer.header("X-Request-ID")) == (status, "mine")
    assert answer.header("Access-Control-Allow-Origin") == ORIGIN
    assert answer.header("Connection") == "close"
    assert (answer.header("Content-Length") or "0") == str(len(answer.body))


def test_no_context_is_left_behind() -> None:
    structlog.contextvars.clear_contextvars()
    refusal(LOGIN + b"Content-Length: 65537\r\n\r\n")
    assert structlog.contextvars.get_contextvars() == {}


def test_a_body_that_does_not_come_is_told_by_the_name_of_its_request() -> None:
    arrivals = having(LOGIN + b"Content-Length: 5\r\n\r\nhi")
    assert arrivals.next() is None
    answer = parsed(arrivals.refused(RequestTimeout()).answer)
    assert (answer.status, answer.header("X-Request-ID")) == (408, "mine")


@pytest.mark.parametrize(
    "received",
    [
        b"HEAD /" + b"x" * 5000,
        b"HEAD / HTTP/1.1\r\n" + FIELDS + b"broken\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n" + FIELDS + b"Content-Length: x\r\n\r\n",
    ],
)
def test_head_is_refused_without_a_body(received: bytes) -> None:
    answer = refusal(received)
    assert answer.body == b""
    assert int(answer.header("Content-Length") or "0") > 0


def test_who_waits_to_be_told_is_told_once_and_not_for_what_is_refused() -> None:
    expecting = b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    arrivals = having(LOGIN + expecting[:-2])
    assert (arrivals.next(), arrivals.go_ahead()) == (None, b"")
    arrivals.take(expecting[-2:])
    assert (arrivals.next(), arrivals.go_ahead(), arrivals.go_ahead()) == (None, GO_AHEAD, b"")
    arrivals.take(b"hello" + LOGIN + expecting)
    assert str(arrivals.next()).count("expect") == 0
    assert (arrivals.next(), arrivals.go_ahead()) == (None, GO_AHEAD)
    assert refusal(LOGIN.replace(b"POST", b"PUT") + expecting).status == 405


def test_nothing_is_left_of_a_request_that_was_taken() -> None:
    arrivals = having(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(arrivals.next(), bytes)
    assert (len(arrivals), arrivals.has_begun, arrivals.next()) == (0, False, None)
    assert parsed(arrivals.refused(MalformedRequest()).answer).status == 400
