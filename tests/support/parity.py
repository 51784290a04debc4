"""What two front doors must agree on: everything but what is random by nature or the server's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.message import EmailMessage

from core.mail.transports import text_of
from tests.support.drivers import Answer, Driver, Headers
from tests.support.mail import html_of

# RFC 9110's own of each server, as the contract lists them.
_SERVERS_OWN = {"date", "server", "connection", "keep-alive", "transfer-encoding"}

_RANDOM = (
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<access token>"),
    (re.compile(r"twc_[0-9a-f]{32}"), "<client id>"),
    (re.compile(r"twr_[\w-]{72}"), "<refresh token>"),
    (re.compile(r"twm_[\w-]{32}"), "<token of a link>"),
    (re.compile(r"twd_[\w-]{43}"), "<token of a device>"),
    (re.compile(r"\b[0-9]+\.[0-9a-f]{16}\b"), "<cursor>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<request id>"),
    (re.compile(r"={15}[0-9]+=="), "<boundary>"),
)

Comparable = tuple[int, list[tuple[str, str]], str]
ComparableLetter = tuple[list[tuple[str, str]], str, str]


def comparable(answer: Answer) -> Comparable:
    """An answer with its random values masked and its headers in order."""
    headers = sorted((name, _mask(value)) for name, value in fields_of(answer))
    return answer.status, headers, _mask(answer.body.decode("utf-8", "replace"))


def fields_of(answer: Answer) -> Headers:
    """The header fields of an answer in order, without those that a server adds: its clock may have moved on."""
    return sorted((name.lower(), value) for name, value in answer.headers if name.lower() not in _SERVERS_OWN)


def comparable_letters(letters: Iterable[EmailMessage]) -> list[ComparableLetter]:
    """Letters with their random values masked, in an order of their own: at one instant, none is before the other."""
    return sorted(
        (
            sorted((name.lower(), _mask(str(value))) for name, value in letter.items()),
            _mask(text_of(letter)),
            _mask(html_of(letter)),
        )
        for letter in letters
    )


def _mask(text: str) -> str:
    for pattern, name in _RANDOM:
        text = pattern.sub(name, text)
    return text


class Transcript:
    """A driver that remembers every request and its answer, and in the end the letters."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.answers: list[tuple[str, str, Comparable]] = []
        self.letters: list[ComparableLetter] = []

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        answer = self._driver.send(method, target, headers, body, chunked=chunked)
        self.answers.append((method, _mask(target), comparable(answer)))
        return answer
