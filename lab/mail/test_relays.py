"""Relays under load: killed again and again, beside each other, and in every worker of both doors."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from pathlib import Path

import pytest

from core.mail.transports import recipient_of, text_of
from lab.rounds import IS_LONG, times
from tests.support.live import DATABASES, Figures
from tests.support.mail import MailServer, kind_of
from tests.support.outbox import attempts, opened, queued, states
from tests.support.servers import CHEAP, FRAMEWORKS, STOP_SECONDS, Process, eventually, relaying, running, serving
from tests.support.smtp_faults import HoldingServer

KILLS = times(6, a_minute=25)
MESSAGES = 125 * KILLS  # more than the relays send between their kills
# SQLite has one writer, so that there is little to share out wrongly.
SHARED = pytest.mark.parametrize("empty_database", DATABASES if IS_LONG else ("postgres",), indirect=True)
# The shortest that there is: a message of a relay that was killed is due again after twelve times as long.
PATIENCE = {"AUTH_SMTP_TIMEOUT": "1"}


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
            assert eventually(lambda: states(store)["waiting"] == 0, 60 + MESSAGES / 20), relay.printed()
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


@SHARED
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


@SHARED
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
