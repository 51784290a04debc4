"""Mailers: an SMTP server, or in development without one, a folder on this machine."""

from __future__ import annotations

import mailbox
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.headerregistry import AddressHeader
from email.message import EmailMessage
from email.policy import default as readable
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr

from core.mail.smtp_replies import PERMANENT, enhanced_code, is_final

PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
# The time limit for opening a connection, and for sending a message, in timeouts of a single answer.
CONVERSATION_ANSWERS = 4
IDLE_SECONDS = 30  # an older connection is not used any more; servers close idle ones after some minutes

log = structlog.get_logger("mail")


class MailError(Exception):
    """The message was not sent, or may not have been; a retry may help. The text contains no address."""


class MailRefused(MailError):
    """The server will never accept this message, or nothing for this recipient."""


class Mailer(Protocol):
    """Sends e-mails."""

    def send(self, email: EmailMessage) -> None:
        """Hand an e-mail over; when this returns, the next server is responsible for it (RFC 5321 section 4.2.5).

        Raises:
            MailRefused: the server will never accept it.
            MailError: the server did not accept it, or its answer is unknown.

        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """The mail server and how to reach it."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: SecretStr | None
    timeout: float
    """Seconds to wait for each answer."""
    name: str
    """The name of this client in EHLO."""

    @classmethod
    def parse(cls, url: SecretStr, *, timeout: float, name: str) -> SmtpServer:
        """Parse a URL that the settings have checked."""
        parts = urlsplit(url.get_secret_value())
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or PORTS[parts.scheme],
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else SecretStr(unquote(parts.password)),
            timeout=timeout,
            name=_ehlo_name(name),
        )


def _ehlo_name(host: str) -> str:
    """Return a host as EHLO names it: an address in brackets (RFC 5321 section 4.1.3), which strict servers demand."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004


class _Connection(smtplib.SMTP):
    """A connection to a mail server, encrypted and authenticated as its URL says.

    The library's timeout is for each read: a server that sends a byte now and then, or line after line, would never
    reach it. So a timer shuts the connection down when the whole conversation takes too long. It does so on a second
    descriptor of the socket, because TLS replaces the first one.
    """

    def __init__(self, server: SmtpServer) -> None:
        self._wire: socket.socket | None = None
        self._is_cut = False
        self._tls = ssl.create_default_context() if server.scheme == "smtps" else None
        try:
            with self.ending_within(server.timeout * CONVERSATION_ANSWERS):
                super().__init__(server.host, server.port, server.name, timeout=server.timeout)
                self._introduce(server)
        except BaseException:
            self.close()
            raise

    def connect(
        self,
        host: str = "",
        port: int = 0,
        source_address: object = None,  # noqa: ARG002 - smtplib calls this
    ) -> tuple[int, bytes]:
        """Open the connection and read the greeting."""
        connected = socket.create_connection((host, port), self.timeout)
        self.sock = connected
        self._wire = connected.dup()
        if self._is_cut:
            raise TimeoutError
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(connected, server_hostname=host)
        return self.getreply()

    def close(self) -> None:
        """Close both descriptors."""
        super().close()
        if self._wire is not None:
            self._wire.close()

    @contextmanager
    def ending_within(self, seconds: float) -> Iterator[None]:
        """Shut the connection down when the time is over.

        Raises:
            TimeoutError: the time was over; an answer may have been cut short.

        """
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            if self._is_cut:
                raise TimeoutError

    def _cut(self) -> None:
        self._is_cut = True
        if self._wire is not None:
            with suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)

    def _introduce(self, server: SmtpServer) -> None:
        if server.scheme == "smtp+starttls":
            # Required, not optional: an attacker in between could remove STARTTLS from the server's answer.
            self.starttls(context=ssl.create_default_context())
        if server.user is not None and server.password is not None:
            self.login(server.user, server.password.get_secret_value())


class SmtpMailer:
    """Sends e-mails to an SMTP server over one connection, which stays open between messages."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._connection: _Connection | None = None
        self._used_at = 0.0

    def send(self, email: EmailMessage) -> None:
        """Send an e-mail."""
        connection = self._connected()
        try:
            with connection.ending_within(self._server.timeout * CONVERSATION_ANSWERS):
                connection.send_message(email)
            self._used_at = time.monotonic()
        except (OSError, smtplib.SMTPException) as error:
            # After a failure the state of the connection is unknown.
            self.close()
            raise _error_of(error) from None

    def close(self) -> None:
        """Close the connection; errors of a lost one are ignored."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, smtplib.SMTPException), connection.ending_within(self._server.timeout):
                connection.quit()
            connection.close()

    def _connected(self) -> _Connection:
        if self._connection is not None and not self._is_alive(self._connection):
            self.close()
        if self._connection is None:
            try:
                self._connection = _Connection(self._server)
            except (OSError, smtplib.SMTPException) as error:
                # Not the message's fault, whatever it is: a failed login, a missing STARTTLS.
                code = f": {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
                raise MailError(f"no connection: {type(error).__name__}{code}") from None
        return self._connection

    def _is_alive(self, connection: _Connection) -> bool:
        if time.monotonic() - self._used_at > IDLE_SECONDS:
            return False
        try:
            with connection.ending_within(self._server.timeout):
                return connection.noop()[0] < PERMANENT
        except (OSError, smtplib.SMTPException):
            return False


def _error_of(error: Exception) -> MailError:
    """Return the error for a failure. Replies to MAIL, to a login or as greeting are temporary: operators mend them."""
    match error:
        case smtplib.SMTPRecipientsRefused(recipients=refused):
            ((code, reply),) = refused.values()  # a message has one recipient
            return _refusal("recipient refused", code, reply, to_recipient=True)
        case smtplib.SMTPDataError(smtp_code=code, smtp_error=reply):
            return _refusal("message refused", code, reply, to_recipient=False)
        case smtplib.SMTPNotSupportedError():
            return MailRefused("the server does not take such an address")
        case smtplib.SMTPResponseException(smtp_code=code):
            return MailError(f"{type(error).__name__}: {code}")
        case _:
            return MailError(type(error).__name__)


def _refusal(text: str, code: int, reply: bytes | str, *, to_recipient: bool) -> MailError:
    reply = reply if isinstance(reply, bytes) else reply.encode()
    kind = MailRefused if is_final(code, reply, to_recipient=to_recipient) else MailError
    return kind(f"{text}: {' '.join(filter(None, (str(code), enhanced_code(reply))))}")


class LocalMailbox:
    """A Maildir on this machine, for development; each e-mail is also logged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, email: EmailMessage) -> None:
        """Store an e-mail and log it."""
        try:
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mailbox.Maildir(self._folder).add(email)
        except OSError as error:
            raise MailError(type(error).__name__) from None
        log.info("mail", to=str(email["To"]), subject=str(email["Subject"]), text=text_of(email))

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def all(self) -> list[EmailMessage]:
        """Return every e-mail, newest first."""
        # Read both folders: a mail program that opens the Maildir moves the files from "new" to "cur". Either may be
        # missing while another process makes them.
        places = [place for place in (self._folder / "new", self._folder / "cur") if place.is_dir()]
        paths = [path for place in places for path in place.iterdir()]
        paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        return [message_from_bytes(path.read_bytes(), EmailMessage, policy=readable) for path in paths]


def text_of(email: EmailMessage) -> str:
    """Return the plain text of an e-mail."""
    body = email.get_body(("plain",))
    return "" if body is None else str(body.get_content()).replace("\r\n", "\n")


def recipient_of(email: EmailMessage) -> str:
    """Return the address of the recipient."""
    header: AddressHeader = email["To"]
    return str(header.addresses[0].addr_spec)
