"""What is taken from an HTTP answer, and how much of it. Who fetches, and how, is `threads` and `tasks`."""

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
    """The answer is not one to use; ``status`` says more only where the answer came whole."""

    def __init__(self, reason: str, *, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A GET to one fixed address; no part of it comes from a token."""

    url: str
    accept: str
    max_bytes: int
    seconds: float
    """Until the headers and the whole body must be here."""
    parameters: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """What httpx needs to ask. A redirect would be a place that nobody configured, so none is followed."""
        # Compressed, a small answer could become a large one before anybody can count its bytes.
        headers = {"Accept": self.accept, "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(self.seconds, connect=min(self.seconds, MAX_CONNECT))
        return {"headers": headers, "params": self.parameters, "follow_redirects": False, "timeout": timeout}


@dataclass(slots=True)
class Intake:
    """Takes an answer in, as long as it stays in its bounds."""

    question: Question
    started: float = field(default_factory=time.monotonic)
    _body: bytearray = field(default_factory=bytearray)

    def head(self, response: httpx.Response) -> None:
        """Look at the head of an answer.

        Raises:
            FetchFailed: no more of it is needed.

        """
        if response.status_code != httpx.codes.OK:
            raise FetchFailed(f"status {response.status_code}", status=response.status_code)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchFailed("compressed")

    def part(self, part: bytes) -> None:
        """Take a part of the body.

        Raises:
            FetchFailed: it is too much, or too late.

        """
        self._body += part
        if len(self._body) > self.question.max_bytes:
            raise FetchFailed("too large")
        if time.monotonic() - self.started > self.question.seconds:
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
    """How httpx connects. Environment variables name proxies, which a loopback address must not go through."""
    return {"verify": _tls(), "trust_env": not is_loopback(url)}


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes 10 to 30 ms, so it is done once."""
    return httpx.create_ssl_context()


def _media_type(response: httpx.Response) -> str:
    value: str = response.headers.get("content-type", "")
    return value.partition(";")[0].strip().lower()


def _max_age(response: httpx.Response) -> float | None:
    match = _MAX_AGE.search(response.headers.get("cache-control", ""))
    return min(float(match[1]), MAX_FRESH) if match else None
