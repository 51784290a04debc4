"""How mail leaves: what an SMTP server's refusal means, what its URL says, and the folder of development."""

from __future__ import annotations

import logging
import os
import smtplib
import socket
import ssl
import stat
from email.message import EmailMessage
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.app import build_mailer
from core.mail.transports import (
    LocalMailbox,
    MailError,
    MailRefused,
    SmtpMailer,
    SmtpServer,
    _error_of,
    recipient_of,
    text_of,
)
from core.settings.groups import HttpSettings, MailSettings
from tests.support.mail import MailServer
from tests.support.postgres import free_port
from tests.support.settings import make_settings


def _email(subject: str = "Set a new password", to: str = "ann@example.com") -> EmailMessage:
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = "no-reply@example.com", to, subject
    email.set_content("Gr\u00fc\u00dfe\nhttps://auth.example.com/reset-password#token=x\n")
    email.add_alternative("<p>Gr\u00fc\u00dfe</p>", subtype="html")
    return email


# What a failure means


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"canary")}),
            MailRefused,
            "recipient refused: 550",
        ),
        (smtplib.SMTPRecipientsRefused({"ann@example.com": (501, b"canary")}), MailRefused, "recipient refused: 501"),
        (smtplib.SMTPRecipientsRefused({"ann@example.com": (450, b"canary")}), MailError, "recipient refused: 450"),
        (smtplib.SMTPRecipientsRefused({"ann@example.com": (421, b"canary")}), MailError, "recipient refused: 421"),
        (
            smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"5.1.1 canary")}),
            MailRefused,
            "recipient refused: 550 5.1.1",
        ),
        (
            smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"5.7.1 canary")}),
            MailError,
            "recipient refused: 550 5.7.1",
        ),
        (smtplib.SMTPDataError(552, b"5.6.3 canary"), MailRefused, "message refused: 552 5.6.3"),
        (smtplib.SMTPDataError(550, b"5.4.5 canary"), MailError, "message refused: 550 5.4.5"),
        (smtplib.SMTPDataError(554, b"canary"), MailError, "message refused: 554"),
        (smtplib.SMTPDataError(451, b"canary"), MailError, "message refused: 451"),
        # Replies to MAIL, to a login and at the greeting are the operator's matter, and pass.
        (smtplib.SMTPSenderRefused(550, b"canary", "no-reply@example.com"), MailError, "SMTPSenderRefused: 550"),
        (smtplib.SMTPAuthenticationError(535, b"canary"), MailError, "SMTPAuthenticationError: 535"),
        (smtplib.SMTPConnectError(554, b"canary"), MailError, "SMTPConnectError: 554"),
        (smtplib.SMTPHeloError(504, b"canary"), MailError, "SMTPHeloError: 504"),
        (smtplib.SMTPResponseException(454, b"canary"), MailError, "SMTPResponseException: 454"),
        (smtplib.SMTPServerDisconnected("canary"), MailError, "SMTPServerDisconnected"),
        (smtplib.SMTPException("canary"), MailError, "SMTPException"),
        (TimeoutError("canary"), MailError, "TimeoutError"),
        (ConnectionRefusedError(111, "canary"), MailError, "ConnectionRefusedError"),
        (socket.gaierror(-2, "canary"), MailError, "gaierror"),
        (ssl.SSLCertVerificationError(1, "canary"), MailError, "SSLCertVerificationError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_is_permanent_or_passes_and_its_text_names_nobody(
    error: Exception, kind: type[MailError], text: str
) -> None:
    told = _error_of(error)
    assert type(told) is kind
    assert str(told) == text


@pytest.mark.parametrize(
    ("command", "reply", "kind"),
    [
        ("RCPT", "550 5.1.1 no such user", MailRefused),
        ("RCPT", "450 4.2.1 later", MailError),
        ("RCPT", "550-5.1.1 no such user\r\n550 5.1.1 try another", MailRefused),
        ("RCPT", "554 5.7.1 relay access denied", MailError),
        ("DATA", "550 5.2.1 this mailbox is disabled", MailRefused),
        ("DATA", "550 5.4.5 daily quota exceeded", MailError),
        ("DATA", "451 4.3.0 later", MailError),
        ("MAIL", "550 5.7.1 not from you", MailError),
        ("MAIL", "452 4.3.1 no room", MailError),
    ],
)
def test_a_reply_of_a_server_is_permanent_or_passes_and_the_next_email_goes_through(
    command: str, reply: str, kind: type[MailError]
) -> None:
    with MailServer() as server:
        server.replies[command] = [reply]
        mailer = _mailer(server.url)
        try:
            with pytest.raises(MailError) as refused:
                mailer.send(_email())
            assert type(refused.value) is kind
            mailer.send(_email("Next"))
        finally:
            mailer.close()
        assert [str(email["Subject"]) for email in server.emails] == ["Next"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("auth.example.com", "auth.example.com"),
        ("localhost", "localhost"),
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:db8::1", "[IPv6:2001:db8::1]"),
    ],
)
def test_an_address_introduces_itself_in_brackets(host: str, name: str) -> None:
    """RFC 5321 section 4.1.3; a strict server answers a bare address 501, and no letter leaves."""
    public_url = f"http://[{host}]:8000" if ":" in host else f"http://{host}:8000"
    with MailServer() as server:
        mail = MailSettings(smtp_url=SecretStr(server.url))
        mailer = build_mailer(make_settings(http=HttpSettings(public_url=public_url), mail=mail))
        try:
            mailer.send(_email())
        finally:
            mailer.close()
        (delivery,) = server.deliveries
    assert delivery.session.host_name == name


def _mailer(url: str) -> SmtpMailer:
    return SmtpMailer(SmtpServer.parse(SecretStr(url), timeout=5, name="auth.example.com"))


def test_an_address_that_a_server_does_not_take_is_refused_for_good() -> None:
    with MailServer(enable_SMTPUTF8=False) as server:
        mailer = _mailer(server.url)
        try:
            with pytest.raises(MailRefused):
                mailer.send(_email(to="j\u00fcrgen@example.com"))
            mailer.send(_email())
        finally:
            mailer.close()
        assert len(server.emails) == 1


@pytest.mark.parametrize("scheme", ["smtp+starttls://", "smtp://ann:canary@"])
def test_a_server_that_offers_no_encryption_or_no_login_refuses_no_message_for_good(scheme: str) -> None:
    """Somebody in between, or a server that is being set up, must not make dead letters of everything."""
    with MailServer() as server:
        mailer = _mailer(server.url.replace("smtp://", scheme))
        with pytest.raises(MailError) as refused:
            mailer.send(_email())
        assert not isinstance(refused.value, MailRefused)
        assert server.emails == []


def test_nothing_is_sent_to_a_server_that_speaks_no_tls_where_encryption_was_asked_for() -> None:
    with MailServer() as server:
        mailer = _mailer(server.url.replace("smtp://", "smtps://"))
        with pytest.raises(MailError):
            mailer.send(_email())
        assert server.emails == []


def test_a_server_that_is_not_there_is_a_failure_that_passes() -> None:
    mailer = _mailer(f"smtp://127.0.0.1:{free_port()}")
    with pytest.raises(MailError) as refused:
        mailer.send(_email())
    assert type(refused.value) is MailError
    mailer.close()


# What a URL says


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "password"),
    [
        ("smtp://mail.example.com", "mail.example.com", 25, None, None),
        ("smtp://mail.example.com/", "mail.example.com", 25, None, None),
        ("smtps://mail.example.com", "mail.example.com", 465, None, None),
        ("smtp+starttls://mail.example.com", "mail.example.com", 587, None, None),
        ("smtp+starttls://mail.example.com:2525", "mail.example.com", 2525, None, None),
        ("smtps://ann:pass@mail.example.com:1", "mail.example.com", 1, "ann", "pass"),
        ("smtps://ann%40example.com:p%40ss%3A%2Fw%23rd%25@h", "h", 465, "ann@example.com", "p@ss:/w#rd%"),
        ("smtps://ann@example.com:p@ss@h", "h", 465, "ann@example.com", "p@ss"),
        ("smtps://ann:p:a:s:s@h", "h", 465, "ann", "p:a:s:s"),
        ("smtps://a+b:p+q@h", "h", 465, "a+b", "p+q"),
        ("smtps://ann:@h", "h", 465, "ann", ""),
        ("smtp://[::1]", "::1", 25, None, None),
        ("smtp://ann:pass@[2001:db8::7]:2525", "2001:db8::7", 2525, "ann", "pass"),
        ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, None, None),
    ],
)
def test_a_url_says_where_and_as_whom(url: str, host: str, port: int, user: str | None, password: str | None) -> None:
    settings = MailSettings(smtp_url=SecretStr(url))
    assert settings.smtp_url is not None
    server = SmtpServer.parse(settings.smtp_url, timeout=7, name="auth.example.com")
    assert (server.scheme, server.host, server.port) == (url.partition(":")[0], host, port)
    assert server.user == user
    assert (None if server.password is None else server.password.get_secret_value()) == password
    assert (server.timeout, server.name) == (7, "auth.example.com")


def test_a_password_is_not_shown_where_its_server_is() -> None:
    server = SmtpServer.parse(SecretStr("smtps://ann:canary@h"), timeout=1, name="n")
    assert "canary" not in repr(server)
    assert "canary" not in str(server)
    assert "canary" not in repr(vars(SmtpMailer(server)))


def test_the_settings_choose_the_way(tmp_path: Path) -> None:
    http = HttpSettings(public_url="https://auth.example.com")
    local = build_mailer(make_settings(data_dir=tmp_path, http=http))
    assert isinstance(local, LocalMailbox)
    mail = MailSettings(smtp_url=SecretStr("smtps://mail.example.com"))
    remote = build_mailer(make_settings(http=http, mail=mail))
    assert isinstance(remote, SmtpMailer)
    assert remote._server == SmtpServer.parse(
        SecretStr("smtps://mail.example.com"), timeout=10, name="auth.example.com"
    )


# The folder of development


def test_what_is_kept_comes_back_whole_and_newest_first(tmp_path: Path) -> None:
    box = LocalMailbox(tmp_path / "data" / "mail")
    assert box.all() == []
    for number in range(5):
        box.send(_email(f"Gr\u00fc\u00dfe {number}"))
        newest = max((tmp_path / "data" / "mail" / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))  # a second lies between two, whatever the clock of the file system
    found = LocalMailbox(tmp_path / "data" / "mail").all()
    assert [str(email["Subject"]) for email in found] == [f"Gr\u00fc\u00dfe {number}" for number in (4, 3, 2, 1, 0)]
    assert recipient_of(found[0]) == "ann@example.com"
    assert text_of(found[0]) == "Gr\u00fc\u00dfe\nhttps://auth.example.com/reset-password#token=x\n"
    body = found[0].get_body(("html",))
    assert body is not None
    assert body.get_content() == "<p>Gr\u00fc\u00dfe</p>\n"


def test_the_folder_may_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        LocalMailbox(tmp_path / "data" / "mail").send(_email())
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "mail").stat().st_mode) == 0o700
    for name in ("new", "cur", "tmp"):
        assert stat.S_IMODE((tmp_path / "data" / "mail" / name).stat().st_mode) == 0o700


def test_what_a_mail_program_has_read_is_still_there(tmp_path: Path) -> None:
    """A Maildir is there to be opened with one: it moves what was read, and marks it."""
    box = LocalMailbox(tmp_path / "mail")
    box.send(_email("Read"))
    (path,) = (tmp_path / "mail" / "new").iterdir()
    path.rename(tmp_path / "mail" / "cur" / f"{path.name}:2,S")
    box.send(_email("Unread"))
    assert {str(email["Subject"]) for email in box.all()} == {"Read", "Unread"}


def test_what_is_kept_is_shown_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    LocalMailbox(tmp_path / "mail").send(_email())
    (record,) = [record for record in caplog.records if record.name == "mail"]
    shown = vars(record)
    assert (shown["to"], shown["subject"]) == ("ann@example.com", "Set a new password")
    assert "#token=x" in shown["text"]


@pytest.mark.parametrize("place", ["mail", "mail/new", "."])
def test_a_folder_that_cannot_be_used_is_a_failure_that_passes(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "data" / "mail"
    obstacle = tmp_path / "data" / place
    if place == ".":
        (tmp_path / "data").write_text("")
    else:
        obstacle.parent.mkdir(parents=True)
        obstacle.write_text("")
    with pytest.raises(MailError) as refused:
        LocalMailbox(folder).send(_email())
    assert type(refused.value) is MailError
    assert str(tmp_path) not in str(refused.value)


def test_a_mailbox_that_is_being_made_is_read_as_far_as_it_is_there(tmp_path: Path) -> None:
    mailbox = LocalMailbox(tmp_path / "mail")
    assert mailbox.all() == []
    (tmp_path / "mail" / "new").mkdir(parents=True)
    assert mailbox.all() == []
