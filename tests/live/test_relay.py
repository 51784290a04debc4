"""The relay as a process of its own: killed in the middle, told to stop, and beside others of its kind."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from core.clock import SystemClock
from core.mail.model import MessageKind, message
from core.mail.sql import outbox
from core.mail.transports import recipient_of, text_of
from core.origin import Origin
from core.settings import DatabaseSettings
from core.sql_store import SqlStore, open_store
from core.storage.engine import reading
from tests.live.conftest import Figures
from tests.live.smtp_faults import HoldingServer, known_user, smtp_url
from tests.storage.values import account
from tests.support.certificates import certificate
from tests.support.databases import migrated_store
from tests.support.mail import MailServer, kind_of
from tests.support.servers import (
    CHEAP,
    FRAMEWORKS,
    STOP_SECONDS,
    Process,
    eventually,
    relaying,
    run_command,
    running,
    serving,
)

MESSAGES = 1500
KILLS = 12
# The shortest that there is: a message of a relay that was killed is due again after twelve times as long.
PATIENCE = {"AUTH_SMTP_TIMEOUT": "1"}
CLIENT = Origin(ip="192.0.2.7", request_id="a-request", languages="en")


def queued(url: str, count: int) -> list[str]:
    """Put messages into the outbox, each to an account of its own; every other one carries a token."""
    now = SystemClock().now()
    recipients = [f"user.{number}@example.com" for number in range(count)]
    with migrated_store(url) as store, store.begin() as work:
        for number, recipient in enumerate(recipients):
            user = account(recipient)
            work.users.add(user, canonical_email=recipient)
            if number % 2:
                notice = message(MessageKind.PASSWORD_CHANGED, at=now, origin=CLIENT, user_id=user.user.id)
            else:
                notice = message(MessageKind.PASSWORD_RESET, at=now, origin=CLIENT, canonical_email=recipient)
            work.outbox.add(notice)
        work.commit()
    return recipients


@contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    store = open_store(url, DatabaseSettings())
    try:
        yield store
    finally:
        store.close()


def states(store: SqlStore) -> Counter[str]:
    """How many messages are waiting, sent and dead; asked without the lock of a writer."""
    with reading(store.engine).connect() as connection:
        rows = connection.execute(select(outbox.c.sent_at, outbox.c.dead_at)).all()
    return Counter("sent" if sent else "dead" if dead else "waiting" for sent, dead in rows)


def attempts(store: SqlStore) -> list[int]:
    with reading(store.engine).connect() as connection:
        return list(connection.scalars(select(outbox.c.attempts)))


def test_relay_that_is_killed_again_and_again_loses_nothing(
    empty_database: str, tmp_path: Path, figures: Figures
) -> None:
    recipients = queued(empty_database, MESSAGES)
    settings = {"AUTH_DATABASE_URL": empty_database, **PATIENCE}
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    printed = ""
    started = time.monotonic()
    with MailServer() as server, opened(empty_database) as store:
        settings["AUTH_SMTP_URL"] = server.url
        for _ in range(KILLS):
            with running(tmp_path, "relay", **settings) as relay:
                server.wait_for(len(server.deliveries) + chance.randint(5, 80))
                time.sleep(chance.uniform(0, 0.02))  # as long as an attempt takes: the kill may fall anywhere in one
                assert relay.popen.poll() is None, relay.printed()
                relay.kill()
                printed += relay.printed()
        assert states(store)["waiting"] > 0, "there was nothing left to kill it over"
        with relaying(tmp_path, **settings) as relay:
            assert eventually(lambda: states(store)["waiting"] == 0, 60), relay.printed()
            relay.terminate()
            assert relay.wait() == 0
            printed += relay.printed()
        seconds = time.monotonic() - started
        assert states(store) == {"sent": MESSAGES}
        undo = sum(number > 1 for number in attempts(store))
        emails = server.emails
    texts, ids = defaultdict(set), defaultdict(set)
    for email in emails:
        texts[recipient_of(email)].add((kind_of(email), text_of(email)))
        ids[recipient_of(email)].add(str(email["Message-ID"]))
    duplicates = len(emails) - len(texts)
    figures(
        f"{MESSAGES} messages, {KILLS} kills in {seconds:.0f} s (seed {seed}): none lost, {duplicates} came twice, "
        f"{undo} were taken back from the dead"
    )
    assert set(texts) == set(recipients), "a message was lost"
    # The same letter with the same token, under the same name, by which a mailbox may know it again.
    assert {len(found) for found in texts.values()} == {1}
    assert {len(found) for found in ids.values()} == {1}
    assert len(set.union(*ids.values())) == MESSAGES
    # A relay that is killed leaves one message of which nobody knows, and one that failed may have arrived as well.
    assert duplicates <= KILLS + printed.count("mail not sent")


def test_two_relays_share_the_work_and_send_nothing_twice(
    empty_database: str, tmp_path: Path, figures: Figures
) -> None:
    recipients = queued(empty_database, 300)
    with HoldingServer() as server, opened(empty_database) as store:
        settings = {"AUTH_DATABASE_URL": empty_database, "AUTH_SMTP_URL": server.url, "AUTH_LOG_FORMAT": "json"}
        with running(tmp_path, "relay", **settings) as first, running(tmp_path, "relay", **settings) as second:
            server.wait_until_held(2)
            server.go_on()
            assert eventually(lambda: states(store)["waiting"] == 0, 60)
            shares = [sent_by(relay) for relay in (first, second)]
        assert sorted(recipient_of(email) for email in server.emails) == sorted(recipients)
        assert set(attempts(store)) == {1}
    figures(f"two relays sent {shares[0]} and {shares[1]} of {len(recipients)} messages, none twice")
    assert min(shares) > 0
    assert sum(shares) == len(recipients)


def sent_by(process: Process) -> int:
    """How many messages a process says it has sent."""
    lines = (json.loads(line) for line in process.printed().splitlines())
    return sum(line["event"] == "mail sent" for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
    assert run_command(tmp_path, "migrate").returncode == 0
    with relaying(tmp_path) as relay:
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


def test_serving_process_sends_what_its_callers_caused(framework: str, email: str, tmp_path: Path) -> None:
    with (
        MailServer() as server,
        serving(tmp_path, framework, AUTH_SMTP_URL=server.url, **CHEAP) as (door,),
    ):
        door.api.signup(email)
        server.wait_for_kind("email_verification", email)
        assert door.api.post("/v1/send-password-reset", {"email": email}).status == 202
        server.wait_for_kind("password_reset", email)
        assert [recipient_of(found) for found in server.emails] == [email, email]


def test_workers_of_both_doors_send_every_message_once(empty_database: str, tmp_path: Path) -> None:
    with MailServer() as server:
        settings = {"AUTH_SMTP_URL": server.url, "AUTH_DATABASE_URL": empty_database, **CHEAP}
        with serving(tmp_path, *FRAMEWORKS, options=["--workers", "2"], **settings) as doors:
            recipients = [f"user.{number}@example.com" for number in range(40)]
            for number, recipient in enumerate(recipients):
                doors[number % 2].api.signup(recipient)
            server.wait_for(len(recipients))
            with opened(empty_database) as store:
                assert eventually(lambda: states(store) == {"sent": len(recipients)}, STOP_SECONDS)
        assert sorted(recipient_of(email) for email in server.emails) == sorted(recipients)


def test_where_the_relay_is_off_nobody_sends_but_the_command(empty_database: str, tmp_path: Path) -> None:
    settings = {"AUTH_DATABASE_URL": empty_database, "AUTH_RELAY": "false", **CHEAP}
    with MailServer() as server, serving(tmp_path, *FRAMEWORKS, AUTH_SMTP_URL=server.url, **settings) as doors:
        recipients = [f"user.{door.framework}@example.com" for door in doors]
        for door, recipient in zip(doors, recipients, strict=True):
            door.api.signup(recipient)
        with opened(empty_database) as store:
            # That nothing happens can only be waited for: longer than any relay pauses.
            assert not eventually(lambda: any(attempts(store)), 3)
            assert server.connections == 0
        with relaying(tmp_path, AUTH_SMTP_URL=server.url, **settings):
            assert sorted(recipient_of(email) for email in server.wait_for(2)) == sorted(recipients)


def test_relay_says_plainly_what_it_misses(tmp_path: Path) -> None:
    done = run_command(tmp_path, "relay")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the database needs its migrations: twinauth migrate\n"


def test_message_outlives_the_process_that_was_asked_for_it(framework: str, email: str, tmp_path: Path) -> None:
    """It is stored with the change that caused it: once the caller has an answer, nothing can lose it."""
    settings = {"AUTH_RELAY": "false", **CHEAP}
    with serving(tmp_path, framework, **settings) as (door,):
        door.api.signup(email)
        door.process.kill()
    with MailServer() as server, relaying(tmp_path, AUTH_SMTP_URL=server.url, **settings):
        server.wait_for_kind("email_verification", email)
