"""Requests that no server may read; each has the word `canary` in it, which no answer may repeat."""

from __future__ import annotations

CLOSING = b"Host: 127.0.0.1\r\nConnection: close\r\n"


def _chunked(body: bytes) -> bytes:
    head = b"POST /v1/login HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    return head + CLOSING + b"\r\n" + body


UNREAD = {"malformed_request", "headers_too_large"}
# What reaches no application, because the server itself cannot read it.
UNREADABLE = {
    "no host": b"GET /healthz HTTP/1.1\r\nConnection: close\r\nX-Name: canary\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\n" + CLOSING + b"Host: canary\r\n\r\n",
    "header of 100 kilobytes": b"GET /healthz HTTP/1.1\r\n" + CLOSING + b"X-Long: " + b"canary" * 17_000 + b"\r\n\r\n",
    "no request line": b"canary\r\n\r\n",
    "control character in the path": b"GET /canary\x7f HTTP/1.1\r\n" + CLOSING + b"\r\n",
    "byte beyond ASCII in the path": b"GET /canary\xe9 HTTP/1.1\r\n" + CLOSING + b"\r\n",
    "header without a colon": b"GET /healthz HTTP/1.1\r\nAuthorization Bearer canary\r\n" + CLOSING + b"\r\n",
    "control character in a header": b"GET /healthz HTTP/1.1\r\nX-Name: canary\x00\r\n" + CLOSING + b"\r\n",
    "folded header": b"GET /healthz HTTP/1.1\r\nX-Name: a\r\n canary\r\n" + CLOSING + b"\r\n",
    "length and chunks": b"POST /v1/login HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n"
    + CLOSING
    + b"\r\n0\r\n\r\ncanary",
    "two lengths": b"POST /v1/login HTTP/1.1\r\nContent-Length: 6\r\nContent-Length: 0\r\n" + CLOSING + b"\r\ncanary",
    "chunk whose size is no number": _chunked(b"canary\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than its size": _chunked(b"2\r\n{}canary\r\n0\r\n\r\n"),
    "bare line feeds": b"GET /canary HTTP/1.1\nHost: 127.0.0.1\n\n",
    "unknown expectation": b"POST /v1/login HTTP/1.1\r\nContent-Type: application/json\r\nExpect: canary\r\n"
    b"Content-Length: 0\r\n" + CLOSING + b"\r\n",
}
