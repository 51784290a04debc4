"""Mail servers that drip at any moment of a conversation, or say nothing: cut off in time, and no caller notices."""

from __future__ import annotations

import contextlib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.mail.transports import CONVERSATION_ANSWERS, MailError
from tests.support.certificates import Certificate, certificate
from tests.support.live import Figures
from tests.support.mail import HOST
from tests.support.servers import CHEAP, FRAMEWORKS, Server, serving
from tests.support.smtp_faults import dripping_server, letter, mailer, silent_server

SHORT = 0.2  # seconds, where only drops are waited for


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate of the servers, added in the way in which an operator adds an authority of the house."""
    made = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


OK = b"250 OK\r\n"
TO_THE_END = (b"220 here\r\n", OK, OK, OK, b"354 Go on\r\n")  # to EHLO, MAIL, RCPT, DATA
TO_TLS = (b"220 here\r\n", b"250-here\r\n250 STARTTLS\r\n")
LONG_RECORD = b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb"  # the head of a TLS record of 16 KiB with a ServerHello in it


@dataclass(frozen=True)
class Drip:
    """What a server says before it begins to drip, and what it says from then on."""

    replies: tuple[bytes, ...]
    drop: bytes
    first: bytes = b""
    scheme: str = "smtp"


DRIPS = {
    "in its greeting": Drip((), b"2"),
    "in the lines of its greeting": Drip((), b"220-not yet\r\n"),
    "in the handshake": Drip((), b"\0", first=LONG_RECORD, scheme="smtps"),
    "before the handshake": Drip(TO_TLS, b"2", scheme="smtp+starttls"),
    "in the handshake after STARTTLS": Drip(
        (*TO_TLS, b"220 Go on\r\n"), b"\0", first=LONG_RECORD, scheme="smtp+starttls"
    ),
    "in the lines of its extensions": Drip((b"220 here\r\n",), b"250-one more\r\n"),
    "when it is told the sender": Drip((b"220 here\r\n", OK), b"2"),
    "when it has the message": Drip(TO_THE_END, b"250-still thinking\r\n"),
    "after it has begun to take the message": Drip(TO_THE_END, b" ", first=b"250 OK"),
}


@pytest.mark.parametrize("place", DRIPS)
def test_server_that_drips_is_cut_off_in_time(place: str, figures: Figures) -> None:
    """Each drop comes in time, and there is no end of them."""
    drip, bound = DRIPS[place], SHORT * CONVERSATION_ANSWERS
    with (
        dripping_server(*drip.replies, first=drip.first, drop=drip.drop) as port,
        mailer(f"{drip.scheme}://{HOST}:{port}", timeout=SHORT) as sender,
    ):
        started = time.monotonic()
        with pytest.raises(MailError, match="TimeoutError"):
            sender.send(letter())
        seconds = time.monotonic() - started
    figures(f"a server that drips {place} was cut off after {seconds:.2f} s of {bound:.1f} s")
    assert SHORT * 0.9 <= seconds < bound + 2


@pytest.mark.parametrize("replies", [(b"220 here\r\n",), TO_THE_END], ids=["extensions", "message"])
def test_server_that_drips_in_encryption_is_cut_off_in_time(replies: tuple[bytes, ...], trusted: Certificate) -> None:
    with (
        dripping_server(*replies, drop=b"250-one more\r\n", tls=trusted.context()) as port,
        mailer(f"smtps://{HOST}:{port}", timeout=SHORT) as sender,
    ):
        started = time.monotonic()
        with pytest.raises(MailError, match="TimeoutError"):
            sender.send(letter())
        assert time.monotonic() - started < SHORT * CONVERSATION_ANSWERS + 2


@pytest.mark.parametrize("again", [True, False])
def test_connection_whose_server_drips_is_left_in_time(*, again: bool) -> None:
    """When it is asked whether it is still there, and at the farewell."""
    with dripping_server(*TO_THE_END, OK, drop=b"2") as port:
        with mailer(f"smtp://{HOST}:{port}", timeout=SHORT) as sender:
            sender.send(letter())
            started = time.monotonic()
            if again:
                with pytest.raises(MailError):  # nobody takes a second connection
                    sender.send(letter())
        assert time.monotonic() - started < SHORT * (2 + CONVERSATION_ANSWERS) + 2


# What the callers of the API notice of all that: nothing.


def answers_of(server: Server, email: str) -> list[tuple[float, int, bytes]]:
    """What a door answers to requests that put mail into the outbox, and how long each took."""
    api = server.api
    asked: list[tuple[str, dict[str, str]]] = [
        ("/v1/signup", {"email": email, "password": "correct horse battery"}),
        ("/v1/send-password-reset", {"email": email}),
        ("/v1/send-password-reset", {"email": f"nobody.{email}"}),
    ]
    answers = []
    for path, body in asked:
        started = time.monotonic()
        answer = api.post(path, body)
        # The account differs by its id and its times alone.
        shown = answer.body if answer.status != 201 else str(sorted(answer.json)).encode()
        answers.append((time.monotonic() - started, answer.status, shown))
    return answers


def test_mail_server_that_says_nothing_is_not_noticed_by_the_callers_of_the_api(
    tmp_path: Path, figures: Figures
) -> None:
    with silent_server() as silence, ThreadPoolExecutor(4) as many:
        url = f"smtp://{HOST}:{silence.getsockname()[1]}"
        settings = {"AUTH_SMTP_URL": url, "AUTH_SMTP_TIMEOUT": "5", **CHEAP}
        with serving(tmp_path, *FRAMEWORKS, **settings) as servers:
            before = [answers_of(server, f"before.{server.framework}@example.com") for server in servers]
            # Each door has taken a message and waits for a word of the server from here on.
            with contextlib.closing(silence.accept()[0]), contextlib.closing(silence.accept()[0]):
                pairs = [(server, f"user.{n}.{server.framework}@example.com") for n in range(20) for server in servers]
                after = list(many.map(lambda pair: answers_of(*pair), pairs))
    for answers in after:
        assert [answer[1:] for answer in answers] == [answer[1:] for answer in before[0]]
    seconds = sorted(answer[0] for answers in after for answer in answers)
    figures(f"{len(seconds)} answers beside a silent server: median {statistics.median(seconds) * 1000:.1f} ms, "
            f"slowest {seconds[-1] * 1000:.0f} ms")  # fmt: skip
    assert seconds[-1] < 2
