"""The relay as a process of its own: told to stop, in the place of doors, and with a server that wants encryption."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from core.mail.transports import recipient_of
from tests.support.certificates import certificate
from tests.support.live import Pair
from tests.support.mail import MailServer, kind_of
from tests.support.outbox import attempts, opened, queued, states
from tests.support.servers import CHEAP, FRAMEWORKS, STOP_SECONDS, eventually, relaying, serving
from tests.support.smtp_faults import HoldingServer, known_user, smtp_url


# What becomes of a message depends on the database, how a process is told does not.
@pytest.mark.parametrize(
    ("empty_database", "number"),
    [("postgres", signal.SIGTERM), ("sqlite", signal.SIGINT)],
    indirect=["empty_database"],
)
def test_relay_that_is_told_to_stop_finishes_the_message_in_hand_and_no_other(
    empty_database: str, number: signal.Signals, tmp_path: Path
) -> None:
    recipients = queued(empty_database, 3)
    with HoldingServer() as server, opened(empty_database) as store:
        settings = {"AUTH_DATABASE_URL": empty_database, "AUTH_SMTP_URL": server.url}
        with relaying(tmp_path, **settings) as relay:
            server.wait_until_held(1)
            relay.popen.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                relay.wait(0.5)  # it waits for the answer of the mail server
            server.go_on()
            assert relay.wait() == 0
            assert relay.leaves_nothing_behind()
        assert "Traceback" not in relay.printed()
        assert len(server.emails) == 1
        assert states(store) == {"sent": 1, "waiting": 2}
        assert sorted(attempts(store)) == [0, 0, 1]
        with relaying(tmp_path, **settings):
            server.wait_for(3)
            assert eventually(lambda: states(store) == {"sent": 3}, STOP_SECONDS)
        assert sorted(recipient_of(email) for email in server.emails) == recipients


def test_relay_with_nothing_to_do_stops_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    assert queued(url, 0) == []
    with relaying(tmp_path, AUTH_DATABASE_URL=url) as relay:
        relay.terminate()
        started = time.monotonic()
        assert relay.wait() == 0
        assert time.monotonic() - started < 2


def test_relay_hands_over_encrypted_and_logged_in_as_its_url_says(tmp_path: Path) -> None:
    shown = certificate(tmp_path)
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    recipients = queued(url, 2)
    with MailServer(authenticator=known_user, tls_context=shown.context(), require_starttls=True) as server:
        settings = {
            "AUTH_DATABASE_URL": url,
            "AUTH_SMTP_URL": smtp_url("smtp+starttls", server.port),
            "SSL_CERT_FILE": str(shown.file),
        }
        with relaying(tmp_path, **settings):
            assert sorted(recipient_of(email) for email in server.wait_for(2)) == recipients
        assert all(delivery.session.authenticated and delivery.session.ssl for delivery in server.deliveries)


def test_serving_process_sends_what_its_callers_caused(
    pair: Pair, framework: str, email: str, mail_server: MailServer
) -> None:
    api = pair[framework].api
    api.signup(email)
    mail_server.wait_for_kind("email_verification", email)
    assert api.post("/v1/send-password-reset", {"email": email}).status == 202
    mail_server.wait_for_kind("password_reset", email)
    assert [kind_of(found) for found in mail_server.to(email)] == ["email_verification", "password_reset"]


def test_where_the_relay_is_off_a_message_outlives_the_door_and_nobody_sends_it_but_the_command(tmp_path: Path) -> None:
    """It is stored with the change that caused it: once the caller has an answer, nothing can lose it."""
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path / 'doors.db'}", "AUTH_RELAY": "false", **CHEAP}
    recipients = [f"user.{framework}@example.com" for framework in FRAMEWORKS]
    with MailServer() as server, serving(tmp_path, *FRAMEWORKS, AUTH_SMTP_URL=server.url, **settings) as doors:
        for door, recipient in zip(doors, recipients, strict=True):
            door.api.signup(recipient)
        with opened(settings["AUTH_DATABASE_URL"]) as store:
            # That nothing happens can only be waited for: longer than any relay pauses.
            assert not eventually(lambda: any(attempts(store)), 3)
            assert server.connections == 0
        for door in doors:
            door.process.kill()
        with relaying(tmp_path, AUTH_SMTP_URL=server.url, **settings):
            assert sorted(recipient_of(email) for email in server.wait_for(2)) == sorted(recipients)
