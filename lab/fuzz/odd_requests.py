"""Requests that one server read and the other did not, before there was a guard and an edge for both."""

from __future__ import annotations

from core.http.edge.limits import MAX_TARGET
from lab.fuzz.wire import chunks, whole

CLOSING = [b"Host: localhost", b"Connection: close"]
BODY = b'{"email":"zed@example.com"}'
LENGTH = b"Content-Length: %d" % len(BODY)
POST = [b"POST /v1/send-password-reset HTTP/1.1", *CLOSING, b"Content-Type: application/json"]
CHUNKED = b"Transfer-Encoding: chunked"


def get(target: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return whole([method + b" " + target + b" " + version, *CLOSING])


ODD_REQUESTS: dict[str, bytes] = {
    # httptools takes what RFC 9112 section 3 forbids, gunicorn refuses it.
    "two blanks behind the method": get(b" /healthz"),
    "two blanks behind the target": get(b"/healthz "),
    "a post with two blanks": whole([POST[0].replace(b" ", b"  ", 1), *POST[1:], LENGTH], BODY),
    "HTTP/0.9": get(b"/healthz", version=b"HTTP/0.9"),
    "HTTP/2.0": get(b"/healthz", version=b"HTTP/2.0"),
    "another protocol": get(b"/healthz", version=b"RTSP/1.0"),
    "no version": whole([b"GET /healthz", *CLOSING]),
    "three empty lines first": b"\r\n\r\n\r\n" + get(b"/healthz"),
    # And the other way round.
    "HTTP/1.2": get(b"/healthz", version=b"HTTP/1.2"),
    "a blank behind the length": whole([*POST, LENGTH + b" "], BODY),
    # Blanks and tabs around a value are no part of it (RFC 9110 section 5.5).
    "a tab behind a host": whole([b"GET /healthz HTTP/1.1", b"Host: localhost\t", b"Connection: close"]),
    "a tab behind a scheme": whole([b"GET /v1/whoami HTTP/1.1", *CLOSING, b"Authorization: Bearer\t"]),
    # Targets that are no path.
    "a star for another method": get(b"*"),
    "a host without a path": get(b"http://localhost"),
    "a port beyond all ports": get(b"http://localhost:99999/healthz"),
    "no host": get(b"http:///healthz"),
    "a tunnel": get(b"localhost:80", b"CONNECT"),
    "a tunnel to a query": get(b"?a", b"CONNECT"),
    "a tunnel to a URL without a host": get(b"http:/healthz", b"CONNECT"),
    # What is measured: gunicorn shows the target as it came, uvicorn only its path and query.
    "a long target that ends in a question mark": get(b"/" + b"x" * (MAX_TARGET - 1) + b"?"),
    "a long target with a fragment": get(b"/" + b"x" * (MAX_TARGET - 1) + b"#ab"),
    "a long path behind a host": get(b"http://localhost/" + b"x" * (MAX_TARGET - 10)),
    # gunicorn drops names with underscores before the edge counts and measures them.
    "a long field with an underscore": whole([*get(b"/healthz").split(b"\r\n")[:3], b"X_Long: " + b"x" * 9000]),
    "101 fields with underscores": whole([b"GET /healthz HTTP/1.1", *CLOSING, *(b"X_%d: x" % n for n in range(99))]),
    # What a server itself refuses lacked the fields of the edge, or had those of a page.
    "two hosts": whole([b"GET /healthz HTTP/1.1", *CLOSING, b"Host: localhost"]),
    "two hosts at a page": whole([b"GET /docs HTTP/1.1", *CLOSING, b"Host: localhost"]),
    "a target far beyond the limit": get(b"/" + b"x" * 5000),
    # gunicorn refuses some fields behind the last chunk; httptools gives all of them out as if they were of the head.
    "a token behind the last chunk": whole([*POST, CHUNKED], b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    "a content type behind the last chunk": whole(
        [*POST[:-1], CHUNKED], chunks(BODY)[:-2] + b"Content-Type: application/json\r\n\r\n"
    ),
    # Refused before the body is read at one door, and for the body at the other.
    "chunks that are none, at no path": whole([b"POST //nope HTTP/1.1", *CLOSING, CHUNKED], b"g\r\n{}\r\n0\r\n\r\n"),
}
