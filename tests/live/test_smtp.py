"""Mail handed over to real SMTP servers, as they should be and as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.app import AuthApp, build
from core.mail.model import Message, MessageKind, message
from core.mail.transports import CONVERSATION_ANSWERS, MailError, MailRefused, recipient_of
from core.origin import Origin
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from tests.support.certificates import Certificate, certificate
from tests.support.clock import FakeClock
from tests.support.databases import empty
from tests.support.live import Figures
from tests.support.mail import HOST, MailServer
from tests.support.postgres import free_port
from tests.support.servers import STOP_SECONDS, eventually
from tests.support.settings import make_settings
from tests.support.smtp_faults import (
    SMTP_PASSWORD,
    USER,
    DeafServer,
    FlakyServer,
    ListeningServer,
    PickyServer,
    dripping_server,
    known_user,
    letter,
    mailer,
    nobody,
    silent_server,
    smtp_url,
)
from tests.support.values import account, stored

TIMEOUT = 1.0  # seconds
SHORT = 0.2  # seconds, where only drops are waited for
SCHEMES = ("smtp", "smtp+starttls", "smtps")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate of the servers."""
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def _trusting(trusted: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way in which an operator adds an authority of the house."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))


def options_for(scheme: str, shown: Certificate) -> dict[str, Any]:
    """What a server of this scheme is made with; it wants no password where anybody could read it."""
    options: dict[str, dict[str, Any]] = {
        "smtp": {"auth_require_tls": False},
        "smtp+starttls": {"tls_context": shown.context(), "require_starttls": True},
        "smtps": {"tls": shown.context(), "auth_require_tls": False},
    }
    return options[scheme]


@pytest.mark.usefixtures("_trusting")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_mail_is_handed_over_with_user_and_password(scheme: str, trusted: Certificate) -> None:
    options = options_for(scheme, trusted)
    with MailServer(authenticator=known_user, **options) as server, mailer(smtp_url(scheme, server.port)) as sender:
        sender.send(letter())
        (delivery,) = server.deliveries
    assert delivery.session.authenticated
    assert delivery.envelope.rcpt_tos == ["ann@example.com"]
    assert delivery.envelope.mail_from == "no-reply@auth.example.com"
    assert delivery.session.host_name == "auth.example.com"
    assert (delivery.session.ssl is not None) is (scheme == "smtp+starttls")


@pytest.mark.parametrize("scheme", SCHEMES[1:])
@pytest.mark.parametrize("name", ["nobody knows it", "another host's"])
def test_certificate_that_is_not_to_be_trusted_is_refused_and_nothing_is_sent(
    scheme: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = certificate(tmp_path, HOST if name == "nobody knows it" else "mail.example.com")
    if name == "another host's":
        monkeypatch.setenv("SSL_CERT_FILE", str(shown.file))
    options = options_for(scheme, shown)
    with (
        ListeningServer(authenticator=known_user, **options) as server,
        mailer(smtp_url(scheme, server.port)) as sender,
    ):
        with pytest.raises(MailError) as caught:
            sender.send(letter())
        assert not isinstance(caught.value, MailRefused)
        assert server.deliveries == []
        assert b"AUTH" not in server.heard
        assert b"MAIL" not in server.heard
        assert eventually(lambda: is_left_alone(server), STOP_SECONDS)


def is_left_alone(server: MailServer) -> bool:
    """Whether every connection has ended, which the server's side does when the other side hangs up."""
    return all(connection.transport is None for connection in server._connections)


@pytest.mark.parametrize("login", [True, False])
def test_nothing_leaves_in_the_clear_where_a_server_offers_no_encryption(*, login: bool) -> None:
    """Whoever stands in between could have taken the offer away."""
    with ListeningServer(authenticator=known_user, auth_require_tls=False) as server:
        url = smtp_url("smtp+starttls", server.port, login=login)
        with mailer(url) as sender, pytest.raises(MailError):
            sender.send(letter())
        heard = bytes(server.heard)
    assert [line.split()[0].upper() for line in heard.splitlines()] == [b"EHLO"]
    assert server.deliveries == []


def test_connection_serves_several_messages() -> None:
    with MailServer() as server, mailer(server.url) as sender:
        for number in range(5):
            sender.send(letter(f"user.{number}@example.com"))
        assert [recipient_of(email) for email in server.emails] == [f"user.{n}@example.com" for n in range(5)]
        assert server.connections == 1


def test_connection_that_the_server_closed_is_opened_again() -> None:
    with MailServer() as server:
        port = server.port
        with mailer(server.url) as sender:
            sender.send(letter("before@example.com"))
            server.__exit__(None, None, None)
            with MailServer(port=port) as again:
                sender.send(letter("after@example.com"))
                assert [recipient_of(email) for email in again.emails] == ["after@example.com"]


def test_server_that_drips_is_cut_off_in_time(figures: Figures) -> None:
    """Each drop comes in time, and there is no end of them. `lab/mail` lets it drip at every other moment."""
    bound = SHORT * CONVERSATION_ANSWERS
    with dripping_server(drop=b"220-not yet\r\n") as port, mailer(f"smtp://{HOST}:{port}", timeout=SHORT) as sender:
        started = time.monotonic()
        with pytest.raises(MailError, match="TimeoutError"):
            sender.send(letter())
        seconds = time.monotonic() - started
    figures(f"a server that drips was cut off after {seconds:.2f} s of {bound:.1f} s")
    assert SHORT * 0.9 <= seconds < bound + 2


def test_failure_is_told_without_an_address_and_without_the_servers_words() -> None:
    with MailServer() as server, mailer(server.url) as sender:
        for reply in ("550 5.1.1 <ann@example.com> is unknown", "450 4.2.1 <ann@example.com> is busy"):
            server.replies["RCPT"] = [reply]
            with pytest.raises(MailError) as caught:
                sender.send(letter())
            assert str(caught.value) == f"recipient refused: {reply[:9]}"


# From here on the relay is there as well, and what it makes of a failure.


@dataclass(frozen=True)
class Post:
    """The service with its outbox, its clock, and its relay in the test's hands."""

    app: AuthApp
    clock: FakeClock

    def put(self, *addresses: str) -> list[Message]:
        """Put a notice for each of these new users into the outbox, in this order."""
        put = []
        for address in addresses:
            user = account(address)
            stored(self.app.store, user)
            # Each a moment later than the one before: what is due longest is sent first.
            self.clock.advance(milliseconds=1)
            notice = message(
                MessageKind.PASSWORD_CHANGED,
                at=self.clock.now(),
                origin=Origin(ip="192.0.2.7", request_id="a-request"),
                user_id=user.user.id,
            )
            with self.app.store.begin() as work:
                work.outbox.add(notice)
                work.commit()
            put.append(notice)
        return put

    def run(self) -> int:
        """Let the relay try all that is due."""
        return self.app.mail_worker.run_once()

    def later(self, **duration: float) -> int:
        """Let time pass, and the relay try all that is due then."""
        self.clock.advance(**duration)
        return self.run()

    def now(self, put: Message) -> Message:
        """A message as it is now."""
        assert put.user_id is not None
        with self.app.store.reading() as read:
            (found,) = read.outbox.of(put.user_id)
        return found

    def dead(self) -> list[Message]:
        with self.app.store.reading() as read:
            return read.outbox.failed()


@pytest.fixture
def post(stores: Callable[[str], SqlStore]) -> Iterator[Callable[..., Post]]:
    """Make the service for a mail server."""
    store = stores("sqlite")
    empty(store)
    made: list[Post] = []

    def make(url: str, **settings: Any) -> Post:
        clock = FakeClock()
        mail = MailSettings(smtp_url=SecretStr(url), smtp_timeout=timedelta(seconds=TIMEOUT), **settings)
        made.append(Post(build(make_settings(mail=mail), store=store, clock=clock), clock))
        return made[-1]

    yield make
    for each in made:
        each.app.mail_worker._mailer.close()
    empty(store)


Posts = Callable[..., Post]


def assert_waits(post: Post, put: Message, error: str) -> None:
    """A message is neither sent nor given up; it is due again, later."""
    now = post.now(put)
    assert (now.attempts, now.last_error, now.sent_at, now.dead_at) == (1, error, None, None)
    assert now.due_at is not None
    assert now.due_at > post.clock.now()
    assert now.address == put.address
    assert now.seed == put.seed


def assert_sent(post: Post, put: Message) -> None:
    now = post.now(put)
    assert (now.sent_at, now.due_at, now.dead_at) == (post.clock.now(), None, None)


def test_mail_waits_while_nothing_listens_and_arrives_when_something_does(post: Posts) -> None:
    port = free_port()
    service = post(f"smtp://{HOST}:{port}")
    (put,) = service.put("ann@example.com")
    assert service.run() == 1
    assert_waits(service, put, "no connection: ConnectionRefusedError")
    with MailServer(port=port) as server:
        assert service.run() == 0, "it is tried again before its time"
        assert service.later(seconds=5) == 1
        assert [recipient_of(email) for email in server.emails] == ["ann@example.com"]
    assert_sent(service, put)


def test_server_that_says_nothing_costs_one_patience(post: Posts, figures: Figures) -> None:
    with silent_server() as server:
        service = post(f"smtp://{HOST}:{server.getsockname()[1]}")
        (put,) = service.put("ann@example.com")
        started = time.monotonic()
        assert service.run() == 1
        seconds = time.monotonic() - started
    figures(f"a silent server was given up after {seconds:.2f} s of {TIMEOUT:.0f} s")
    assert TIMEOUT * 0.9 <= seconds < TIMEOUT + 2
    assert_waits(service, put, "no connection: SMTPServerDisconnected")


def test_recipient_that_is_refused_for_good_is_given_up_at_once_and_holds_up_nobody(post: Posts) -> None:
    with PickyServer() as server:
        server.refused["gone@example.com"] = "550 5.1.1 no such user"
        service = post(server.url)
        first, gone, last = service.put("first@example.com", "gone@example.com", "last@example.com")
        assert service.run() == 3
        assert [recipient_of(email) for email in server.emails] == ["first@example.com", "last@example.com"]
        assert service.later(days=1) == 0
    assert_sent_at_all(service, first, last)
    (dead,) = service.dead()
    assert (dead.id, dead.attempts, dead.last_error) == (gone.id, 1, "recipient refused: 550 5.1.1")


def assert_sent_at_all(post: Post, *put: Message) -> None:
    assert all(post.now(message).sent_at is not None for message in put)


def test_recipient_that_is_refused_for_now_is_tried_again_and_holds_up_nobody(post: Posts) -> None:
    with PickyServer() as server:
        server.refused["busy@example.com"] = "450 4.2.1 mailbox busy"
        service = post(server.url)
        busy, last = service.put("busy@example.com", "last@example.com")
        assert service.run() == 2
        assert_waits(service, busy, "recipient refused: 450 4.2.1")
        assert_sent(service, last)
        server.refused.clear()
        assert service.later(seconds=5) == 1
        assert [recipient_of(email) for email in server.emails] == ["last@example.com", "busy@example.com"]
    assert_sent(service, busy)


@pytest.mark.parametrize(
    ("reply", "is_dead"),
    [("451 4.3.0 later", False), ("550 5.4.5 daily quota exceeded", False), ("550 5.2.1 disabled", True)],
)
def test_message_that_is_refused_after_its_content_waits_or_is_given_up(
    post: Posts, reply: str, *, is_dead: bool
) -> None:
    with MailServer() as server:
        server.replies["DATA"] = [reply]
        service = post(server.url)
        refused, last = service.put("refused@example.com", "last@example.com")
        assert service.run() == 2
        assert_sent(service, last)
    error = f"message refused: {reply[:9]}"
    if is_dead:
        assert [(dead.id, dead.last_error) for dead in service.dead()] == [(refused.id, error)]
    else:
        assert_waits(service, refused, error)


@pytest.mark.parametrize(
    ("fault", "error"), [("drops", "SMTPServerDisconnected"), ("busy", "no connection: SMTPConnectError: 421")]
)
def test_message_whose_conversation_broke_off_arrives_later(post: Posts, fault: str, error: str) -> None:
    with FlakyServer(fault) as server:
        service = post(server.url)
        broken, last = service.put("broken@example.com", "last@example.com")
        assert service.run() == 2
        assert_waits(service, broken, error)
        assert_sent(service, last)
        assert service.later(seconds=5) == 1
        assert [recipient_of(email) for email in server.emails] == ["last@example.com", "broken@example.com"]
    assert_sent(service, broken)


def test_message_that_arrived_without_its_sender_knowing_comes_again_under_the_same_id(post: Posts) -> None:
    with DeafServer() as server:
        service = post(server.url)
        (put,) = service.put("ann@example.com")
        service.run()
        assert_waits(service, put, "SMTPServerDisconnected")
        service.later(seconds=5)
        first, second = server.emails
    assert first["Message-ID"] == second["Message-ID"]
    assert_sent(service, put)


def test_refused_login_is_the_operators_matter_and_buries_nothing(post: Posts) -> None:
    """Also after more attempts than one: whoever mends the password finds the mail still waiting."""
    port = free_port()
    with MailServer(port=port, authenticator=nobody, auth_require_tls=False) as server:
        service = post(smtp_url("smtp", port))
        (put,) = service.put("ann@example.com")
        service.run()
        assert_waits(service, put, "no connection: SMTPAuthenticationError: 535")
        assert service.later(seconds=5) == 1
        assert service.dead() == []
        assert server.deliveries == []
    with MailServer(port=port, authenticator=known_user, auth_require_tls=False) as server:
        assert service.later(seconds=10) == 1
        assert [recipient_of(email) for email in server.emails] == ["ann@example.com"]
        assert server.deliveries[0].session.authenticated


@pytest.mark.parametrize("missing", ["encryption", "login"])
def test_server_that_does_not_offer_what_the_url_asks_for_buries_nothing(post: Posts, missing: str) -> None:
    """It is not the message's fault; and who stands in between must not be able to have all mail thrown away."""
    scheme = "smtp+starttls" if missing == "encryption" else "smtp"
    with MailServer() as server:  # which by itself offers neither
        service = post(smtp_url(scheme, server.port))
        (put,) = service.put("ann@example.com")
        service.run()
        assert server.deliveries == []
        assert service.dead() == []
        # Whoever reads it is to look at the server and not at the recipient.
        assert_waits(service, put, "no connection: SMTPNotSupportedError")


def test_sender_that_is_refused_is_the_operators_matter_and_buries_nothing(post: Posts) -> None:
    with MailServer() as server:
        server.replies["MAIL"] = ["550 5.7.1 not yours to send for"]
        service = post(server.url)
        (put,) = service.put("ann@example.com")
        service.run()
        assert_waits(service, put, "SMTPSenderRefused: 550")


def test_message_is_given_up_after_its_last_attempt_and_not_before(post: Posts) -> None:
    service = post(f"smtp://{HOST}:{free_port()}", mail_attempts=3)
    service.put("ann@example.com")
    assert [service.later(hours=1) for _ in range(2)] == [1, 1]
    assert service.dead() == []
    assert service.later(hours=1) == 1
    assert [dead.attempts for dead in service.dead()] == [3]
    assert service.later(hours=1) == 0


def test_password_of_the_mail_server_stands_in_no_error(post: Posts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with MailServer(authenticator=nobody, auth_require_tls=False) as server:
        service = post(smtp_url("smtp", server.port))
        (put,) = service.put("ann@example.com")
        service.run()
        assert "mail not sent" in caplog.text
        told = caplog.text + repr(service.app.settings) + str(service.now(put))
    assert [secret for secret in (SMTP_PASSWORD, "s3cret", USER) if secret in told] == []
