"""The whole way of a letter: a request, the outbox, the relay in its thread, and a mail server over SMTP."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from core.mail.sql import outbox
from core.mail.transports import recipient_of
from core.settings.groups import MailSettings
from core.sql_store import SqlStore
from tests.support.api import EMAIL, OTHER_EMAIL, OTHER_PASSWORD, PASSWORD, Api
from tests.support.databases import empty
from tests.support.mail import HOST, MailServer, kind_of, token_of
from tests.support.services import DATABASES, FRAMEWORKS, on_one_database, open_service


@dataclass(frozen=True)
class MailedService:
    """A front door, and the mail server that its letters go to."""

    api: Api
    server: MailServer

    def letter(self, kind: str, count: int = 1) -> EmailMessage:
        """The newest of so many letters of a kind, as soon as they are there."""
        self.server.wait_until(lambda emails: [kind_of(email) for email in emails].count(kind) >= count)
        found = [email for email in self.server.emails if kind_of(email) == kind]
        assert len(found) == count
        return found[-1]

    def token(self, kind: str, count: int = 1) -> str:
        return token_of(self.letter(kind, count))


OpenDoor = Callable[[str], Api]


@pytest.fixture
def open_door(
    database: str, stores: Callable[[str], SqlStore], loop: asyncio.AbstractEventLoop, framework: str
) -> Iterator[OpenDoor]:
    """Open a front door whose letters go to a mail server."""
    store = stores(database)

    def open_to(url: str) -> Api:
        return open_service(store, loop, mail=MailSettings(smtp_url=SecretStr(url))).api(framework)

    yield open_to
    empty(store)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextmanager
def relaying(api: Api) -> Iterator[None]:
    """Let the relay send in a thread of its own, as a serving process does."""
    api.auth.mail_worker.start()
    try:
        yield
    finally:
        api.auth.mail_worker.stop()


@pytest.fixture
def mailed(open_door: OpenDoor) -> Iterator[MailedService]:
    with MailServer() as server:
        api = open_door(server.url)
        with relaying(api):
            yield MailedService(api, server)


@pytest.mark.parametrize("database", [*DATABASES, "pgbouncer"])
def test_sign_up_verify_forget_reset_and_log_in(mailed: MailedService) -> None:
    api = mailed.api
    api.signup()
    assert api.verify(mailed.token("email_verification")).status == 204
    stolen = api.login()
    assert api.whoami(stolen["access_token"]).json["email_verified"] is True

    assert api.ask_for_reset().status == 202
    assert api.reset(mailed.token("password_reset")).status == 204
    assert api.whoami(stolen["access_token"]).status == 401
    assert api.refresh(stolen["refresh_token"]).status == 401
    assert api.post("/v1/login", {"email": EMAIL, "password": PASSWORD}).status == 401

    pair = api.login(EMAIL, OTHER_PASSWORD)
    mailed.letter("password_changed")
    assert api.ask_for_change(pair["access_token"], password=OTHER_PASSWORD).status == 202
    assert api.verify(mailed.token("email_change")).status == 204
    api.login(OTHER_EMAIL, OTHER_PASSWORD)

    sent = sorted((kind_of(email), recipient_of(email)) for email in mailed.server.wait_for(6))
    assert sent == [
        ("email_change", OTHER_EMAIL),
        ("email_change_requested", EMAIL),
        ("email_changed", EMAIL),
        ("email_verification", EMAIL),
        ("password_changed", EMAIL),
        ("password_reset", EMAIL),
    ]


@on_one_database
def test_each_envelope_names_one_recipient_who_stands_in_the_letter(mailed: MailedService) -> None:
    api = mailed.api
    for email in (EMAIL, "o'neil+tag@example.com", "ann@b\u00fccher.example"):
        api.signup(email)
        api.ask_for_reset(email)
    mailed.server.wait_for(6)
    deliveries = mailed.server.deliveries
    assert len(deliveries) == 6
    for delivery in deliveries:
        assert delivery.envelope.rcpt_tos == [recipient_of(delivery.email)]
        assert delivery.envelope.mail_from == "no-reply@localhost"
        assert len(delivery.email.get_all("To") or []) == 1
        assert [delivery.email[name] for name in ("Cc", "Bcc", "Reply-To", "Sender")] == [None] * 4
        content = delivery.envelope.content
        assert isinstance(content, bytes)
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", content), "every line ends as SMTP wants it"
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert content.isascii()
    assert {delivery.envelope.rcpt_tos[0] for delivery in deliveries} == {
        EMAIL,
        "o'neil+tag@example.com",
        "ann@xn--bcher-kva.example",
    }


@on_one_database
def test_fifty_requests_are_five_letters(mailed: MailedService) -> None:
    api = mailed.api
    api.signup()
    mailed.letter("email_verification")
    for _ in range(50):
        api.clock.advance(seconds=1)
        assert api.ask_for_reset().status == 202
    # Told of afterwards, and so sent after everything that was asked for before.
    api.clock.advance(seconds=1)
    assert api.post("/v1/signup", {"email": EMAIL, "password": PASSWORD}).status == 409
    mailed.letter("signup_attempted")
    kinds = [kind_of(email) for email in mailed.server.emails]
    assert kinds == ["email_verification", *["password_reset"] * 5, "signup_attempted"]


@on_one_database
def test_a_letter_that_is_put_off_is_the_same_when_it_comes(open_door: OpenDoor) -> None:
    with MailServer() as server:
        api = open_door(server.url)
        api.signup()
        server.replies["DATA"] = ["451 later"]
        assert api.auth.mail_worker.run_once() == 1
        assert attempts(api) == {("email_verification", 1, "message refused: 451")}
        api.clock.advance(seconds=5)
        assert api.auth.mail_worker.run_once() == 1
        (letter,) = server.emails
        first, second = server.offered
        assert first["Message-ID"] == second["Message-ID"] == letter["Message-ID"]
        assert token_of(first) == token_of(letter)
        assert api.verify(token_of(letter)).status == 204
        api.auth.mail_worker._mailer.close()


@on_one_database
def test_a_letter_that_is_refused_for_good_is_kept_for_the_operator(open_door: OpenDoor) -> None:
    with MailServer() as server:
        api = open_door(server.url)
        api.signup()
        server.replies["RCPT"] = ["550 no such user"]
        assert api.auth.mail_worker.run_once() == 1
        assert attempts(api) == {("email_verification", 1, "recipient refused: 550")}
        api.clock.advance(hours=2)
        assert api.ask_for_reset().status == 202
        assert api.auth.mail_worker.run_once() == 1, "it is not tried again, and holds nothing up"
        assert [kind_of(email) for email in server.emails] == ["password_reset"]
        with api.auth.store.reading() as read:
            assert [message.kind for message in read.outbox.failed()] == ["email_verification"]
        api.auth.mail_worker._mailer.close()


def attempts(api: Api) -> set[tuple[str, int, str]]:
    """The messages that could not be sent so far."""
    with api.engine.connect() as connection:
        found = connection.execute(
            select(outbox.c.kind, outbox.c.attempts, outbox.c.last_error).where(outbox.c.last_error.is_not(None))
        )
        return {(kind, number, error) for kind, number, error in found}


def test_a_mail_server_that_is_down_changes_no_answer_and_loses_no_letter(open_door: OpenDoor) -> None:
    # Bound and not listening: whoever connects is refused, and nobody else takes the port.
    with socket.socket() as closed:
        closed.bind((HOST, 0))
        port = closed.getsockname()[1]
        api = open_door(f"smtp://{HOST}:{port}")
        api.signup()
        api.login()
        assert api.ask_for_reset().status == api.ask_for_reset("nobody@example.com").status == 202
        assert api.auth.mail_worker.run_once() == 3
        assert attempts(api) == {
            ("email_verification", 1, "no connection: ConnectionRefusedError"),
            ("password_reset", 1, "no connection: ConnectionRefusedError"),
        }
    with MailServer(port=port) as server:
        api.clock.advance(seconds=5)
        assert api.auth.mail_worker.run_once() == 2
        assert sorted(kind_of(email) for email in server.emails) == ["email_verification", "password_reset"]
        (reset,) = [email for email in server.emails if kind_of(email) == "password_reset"]
        assert api.reset(token_of(reset)).status == 204
        api.auth.mail_worker._mailer.close()
