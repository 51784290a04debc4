"""SMTP servers that encrypt, that wait, and that break: what a relay meets in the world; and who sends to them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email import policy
from email.message import EmailMessage
from typing import Any, ClassVar

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr

from core.mail.transports import SmtpMailer, SmtpServer
from tests.support.mail import HOST, MailServer

USER = "mail@twinauth"
SMTP_PASSWORD = "s3cret: 50% of it/all?"


def known_user(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any) -> AuthResult:
    """Let the one user in."""
    right = LoginPassword(login=USER.encode(), password=SMTP_PASSWORD.encode())
    return AuthResult(success=given == right, handled=False)


def nobody(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, _given: Any) -> AuthResult:
    """Let nobody in."""
    return AuthResult(success=False, handled=False)


class _Listening(SMTP):
    """Writes down what comes in, as it comes in."""

    heard: bytearray

    def data_received(self, data: bytes) -> None:
        self.heard += data
        super().data_received(data)


class ListeningServer(MailServer):
    """Keeps every byte that it is sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.heard = bytearray()

    def _connection(self) -> SMTP:
        connection = _Listening(self, loop=self._loop, **self._options)
        connection.heard = self.heard
        self._connections.append(connection)
        return connection


class PickyServer(MailServer):
    """Refuses some recipients, each with a reply of its own, as long as it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.refused: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd finds it by this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        return await super().handle_RCPT(_server, _session, envelope, address, options)


class HoldingServer(MailServer):
    """Takes messages and says nothing of it until it is told to go on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._held = 0
        self._changed = threading.Condition()
        self._goes_on = asyncio.Event()

    def wait_until_held(self, count: int, seconds: float = 20) -> None:
        """Return when so many wait for its word at once."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held >= count, seconds), f"{self._held} of {count} wait"

    def go_on(self) -> None:
        """Take what waits, and everything else at once."""
        self._loop.call_soon_threadsafe(self._goes_on.set)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        with self._changed:
            self._held += 1
            self._changed.notify_all()
        await self._goes_on.wait()
        return await super().handle_DATA(server, session, envelope)


class _Dropping(SMTP):
    """Hangs up when it has heard the first line of a message."""

    async def smtp_DATA(self, _arg: str) -> None:  # noqa: N802
        await self.push("354 Go on")
        await self._reader.readuntil(b"\r\n")
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort()


class _Busy(SMTP):
    """Says that it has no time."""

    async def _handle_client(self) -> None:
        await self.push("421 4.3.2 Too busy")
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.close()


class FlakyServer(MailServer):
    """Fails the first conversations, each in the way that stands in ``faults``."""

    WAYS: ClassVar[dict[str, type[SMTP]]] = {"drops": _Dropping, "busy": _Busy}

    def __init__(self, *faults: str, **options: Any) -> None:
        super().__init__(**options)
        self._faults = list(faults)

    def _connection(self) -> SMTP:
        kind = self.WAYS[self._faults.pop(0)] if self._faults else SMTP
        connection = kind(self, loop=self._loop, **self._options)
        self._connections.append(connection)
        return connection


class DeafServer(MailServer):
    """Takes the first message and hangs up without a word, so that its sender cannot know."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._is_first = True

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        taken = await super().handle_DATA(server, session, envelope)
        if self._is_first:
            self._is_first = False
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return taken


@contextmanager
def silent_server() -> Iterator[socket.socket]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(20)
        yield listening


@contextmanager
def dripping_server(
    *replies: bytes, first: bytes = b"", drop: bytes, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A port where one client is given these replies, one for each thing it says, and then drops without an end."""
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as pool:
        listening.settimeout(20)
        dripping = pool.submit(_drip, listening, tls, replies, first, drop)
        yield listening.getsockname()[1]
        dripping.result(20)


def _drip(
    listening: socket.socket, tls: ssl.SSLContext | None, replies: Sequence[bytes], first: bytes, drop: bytes
) -> None:
    connection, _ = listening.accept()
    if tls is not None:
        connection = tls.wrap_socket(connection, server_side=True)
    with connection, suppress(ConnectionError, ssl.SSLError):
        connection.settimeout(20)
        for reply in replies:
            connection.sendall(reply)
            connection.recv(65536)
        connection.sendall(first)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            connection.sendall(drop)
            time.sleep(0.02)


def smtp_url(scheme: str, port: int, *, login: bool = True) -> str:
    """The address of a server for ``AUTH_SMTP_URL``; user and password are escaped as a URL wants them."""
    credentials = "mail%40twinauth:s3cret%3A%2050%25%20of%20it%2Fall%3F@" if login else ""
    return f"{scheme}://{credentials}{HOST}:{port}"


@contextmanager
def mailer(url: str, timeout: float = 1.0) -> Iterator[SmtpMailer]:
    made = SmtpMailer(SmtpServer.parse(SecretStr(url), timeout=timeout, name="auth.example.com"))
    try:
        yield made
    finally:
        made.close()


def letter(to: str = "ann@example.com") -> EmailMessage:
    email = EmailMessage(policy=policy.SMTP)
    email["From"] = "no-reply@auth.example.com"
    email["To"] = to
    email["Subject"] = "Your password was changed"
    email["Message-ID"] = f"<{to}>"
    email.set_content("It was changed.\n")
    return email
