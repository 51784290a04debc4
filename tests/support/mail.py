"""Mail for tests: a real SMTP server, a mailer in memory, and what stands in a message."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as readable
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from core.mail.rendering import KIND_HEADER
from core.mail.transports import recipient_of, text_of
from tests.support.drivers import event_loop

HOST = "127.0.0.1"
# A bound, not a wait: what takes longer than this on a loaded machine does not come any more.
ARRIVAL_SECONDS = 20

_LINK = re.compile(r"https?://\S+#token=\S+")
_TOKEN = re.compile(r"twm_[\w-]{32}")


def kind_of(email: EmailMessage) -> str:
    """What a message is about."""
    return str(email[KIND_HEADER])


def html_of(email: EmailMessage) -> str:
    """The HTML of a message."""
    body = email.get_body(("html",))
    assert body is not None, "there is no HTML in it"
    return str(body.get_content())


def link_of(email: EmailMessage) -> str:
    """The one link in the text of a message."""
    (link,) = _LINK.findall(text_of(email))
    return str(link)


def token_of(email: EmailMessage) -> str:
    """The token in the link of a message."""
    return token_in(text_of(email))


def token_in(text: str) -> str:
    """The token in the one link of a text."""
    (link,) = _LINK.findall(text)
    token = str(link).partition("#token=")[2]
    assert _TOKEN.fullmatch(token), token
    return token


@dataclass
class RecordingMailer:
    """Keeps what it is handed. While ``failure`` is set, it takes nothing and raises that."""

    letters: list[EmailMessage] = field(default_factory=list)
    failure: Exception | None = None
    refused: list[EmailMessage] = field(default_factory=list)
    """What it did not take."""
    _taken: int = 0

    def send(self, email: EmailMessage) -> None:
        # As a recipient reads it: out of the bytes that were sent.
        read = parsed(email.as_bytes())
        if self.failure is not None:
            self.refused.append(read)
            raise self.failure
        self.letters.append(read)

    def close(self) -> None:
        """Nothing to give back."""

    def take(self) -> list[EmailMessage]:
        """What came since the last time."""
        found = self.letters[self._taken :]
        self._taken = len(self.letters)
        return found

    def reset(self) -> None:
        self.letters, self.refused, self.failure, self._taken = [], [], None, 0


def parsed(content: bytes) -> EmailMessage:
    """A message out of its bytes."""
    return message_from_bytes(content, EmailMessage, policy=readable)


@dataclass(frozen=True)
class Delivery:
    """One message that an SMTP server took: in its envelope, and read."""

    envelope: Envelope
    session: Session
    email: EmailMessage


class MailServer:
    """An SMTP server on a free port of this machine that keeps what it is handed.

    ``replies`` are given instead of its own, by command (``MAIL``, ``RCPT``, ``DATA``), each once, first ones first::

        with MailServer() as server:
            server.replies["RCPT"] = ["450 later", "550 never"]

    ``tls`` makes it speak TLS from the first byte on; other options are aiosmtpd's (``tls_context`` for STARTTLS,
    ``authenticator``, ``enable_SMTPUTF8`` ...). A port makes it come back where it was before.
    """

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self.replies: dict[str, list[str]] = {}
        self.offered: list[EmailMessage] = []
        """Every message that came as far as DATA, taken or not."""
        self._deliveries: list[Delivery] = []
        self._arrived = threading.Condition()
        self._tls = tls
        self._options = options
        self._connections: list[SMTP] = []
        self._stack = ExitStack()
        # Bound here and not by number later: nobody else can take the port in between.
        self._socket = socket.create_server((HOST, port))
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address for ``AUTH_SMTP_URL``, without encryption."""
        return f"smtp://{HOST}:{self.port}"

    @property
    def deliveries(self) -> list[Delivery]:
        """What it took, oldest first."""
        with self._arrived:
            return list(self._deliveries)

    @property
    def emails(self) -> list[EmailMessage]:
        """The messages that it took, oldest first."""
        return [delivery.email for delivery in self.deliveries]

    @property
    def connections(self) -> int:
        """How often somebody connected."""
        return len(self._connections)

    def to(self, address: str) -> list[EmailMessage]:
        """The messages to an address, oldest first."""
        return [email for email in self.emails if recipient_of(email) == address]

    def wait_for(self, count: int, seconds: float = ARRIVAL_SECONDS) -> list[EmailMessage]:
        """Its messages, as soon as there are so many."""
        self.wait_until(lambda emails: len(emails) >= count, seconds)
        return self.emails

    def wait_until(self, condition: Callable[[list[EmailMessage]], bool], seconds: float = ARRIVAL_SECONDS) -> None:
        """Wait until a condition on its messages comes true; it is asked again with every message that comes."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: condition([d.email for d in self._deliveries]), seconds)
            assert came, f"there are only {[kind_of(delivery.email) for delivery in self._deliveries]}"

    def wait_for_kind(self, kind: str, address: str | None = None, seconds: float = ARRIVAL_SECONDS) -> EmailMessage:
        """The newest message of a kind, as soon as there is one."""

        def found(emails: list[EmailMessage]) -> list[EmailMessage]:
            return [email for email in emails if kind_of(email) == kind and address in (None, recipient_of(email))]

        self.wait_until(lambda emails: bool(found(emails)), seconds)
        return found(self.emails)[-1]

    def __enter__(self) -> Self:
        self._loop = self._stack.enter_context(event_loop())
        self._server = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        self._stack.callback(lambda: asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # aiosmtpd finds these hooks by their names.

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self._scripted("MAIL"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self._scripted("RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        email = parsed(envelope.content)
        self.offered.append(email)
        if reply := self._scripted("DATA"):
            return reply
        with self._arrived:
            self._deliveries.append(Delivery(envelope, session, email))
            self._arrived.notify_all()
        return "250 OK"

    def _scripted(self, command: str) -> str | None:
        waiting = self.replies.get(command)
        return waiting.pop(0) if waiting else None

    def _connection(self) -> SMTP:
        connection = SMTP(self, loop=self._loop, **self._options)
        self._connections.append(connection)
        return connection

    async def _open(self) -> asyncio.Server:
        return await self._loop.create_server(self._connection, sock=self._socket, ssl=self._tls)

    async def _close(self) -> None:
        """Hang up on everybody and wait for the conversations to end: a loop that is closed before leaves them open."""
        self._server.close()
        for connection in self._connections:
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
        talks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*talks, return_exceptions=True)
        await self._server.wait_closed()
