"""Requests to the issuer, and the bounds of their answers. `synchronous` and `asynchronous` do the fetching."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx

from twinauth_verify.settings import is_loopback

MAX_JWKS = 256 * 1024
MAX_FEED = 1024 * 1024  # the issuer sends at most 1,000 entries of about 160 bytes at once
MAX_FRESH = 3600.0
MAX_CONNECT = 5.0

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])", re.IGNORECASE)


class FetchFailed(Exception):
    """The answer cannot be used; ``status`` is set only if that is because of the status."""

    def __init__(self, reason: str, *, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """A GET to one fixed address; no part of it comes from a token."""

    url: str
    accept: str
    max_bytes: int
    seconds: float
    """The time limit for the headers and the whole body."""
    parameters: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return the options for httpx. No redirect is followed: it would lead to an address that nobody configured."""
        # A small compressed answer could become a large one before its bytes can be counted.
        # A cache in between must ask the issuer: it may have a key that has ended, or not have the one that took over.
        headers = {"Accept": self.accept, "Accept-Encoding": "identity", "Cache-Control": "no-cache"}
        timeout = httpx.Timeout(self.seconds, connect=min(self.seconds, MAX_CONNECT))
        return {"headers": headers, "params": self.parameters, "follow_redirects": False, "timeout": timeout}


@dataclass(slots=True)
class ResponseReader:
    """Reads an answer as long as it stays within the bounds of the request."""

    request: FetchRequest
    started: float = field(default_factory=time.monotonic)
    _body: bytearray = field(default_factory=bytearray)

    def read_head(self, response: httpx.Response) -> None:
        """Check the status and the headers.

        Raises:
            FetchFailed: the answer cannot be used.

        """
        if response.status_code != httpx.codes.OK:
            raise FetchFailed(f"status {response.status_code}", status=response.status_code)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchFailed("compressed")

    def read_part(self, part: bytes) -> None:
        """Take a part of the body.

        Raises:
            FetchFailed: the body is too large or too slow.

        """
        self._body += part
        if len(self._body) > self.request.max_bytes:
            raise FetchFailed("too large")
        if time.monotonic() - self.started > self.request.seconds:
            raise FetchFailed("too slow")

    def answer(self, response: httpx.Response) -> Answer:
        """The whole answer."""
        return Answer(bytes(self._body), _media_type(response), _max_age(response))


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with status 200."""

    body: bytes
    media_type: str
    max_age: float | None


def client_options(url: str) -> dict[str, Any]:
    """Return the options of the connection. A loopback address ignores the proxies of the environment."""
    return {"verify": _tls(), "trust_env": not is_loopback(url)}


@cache
def _tls() -> ssl.SSLContext:
    """Read the certificates once: it takes 10 to 30 ms."""
    return httpx.create_ssl_context()


def _media_type(response: httpx.Response) -> str:
    value: str = response.headers.get("content-type", "")
    return value.partition(";")[0].strip().lower()


def _max_age(response: httpx.Response) -> float | None:
    match = _MAX_AGE.search(response.headers.get("cache-control", ""))
    return min(float(match[1]), MAX_FRESH) if match else None
