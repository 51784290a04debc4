"""`twinauth mail` and `twinauth outbox`: what operators and developers read of the mail, and what they can do."""

from __future__ import annotations

import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.mail.transports import recipient_of
from tests.support.commands import invoked
from tests.support.live import Pair
from tests.support.mail import MailServer
from tests.support.outbox import queued
from tests.support.servers import CHEAP, STOP_SECONDS, Server, eventually, relaying, serving
from tests.support.smtp_faults import PickyServer

RESET = ("--kind", "password_reset")
UNKNOWN = "01900000-0000-7000-8000-000000000000"
LINK = re.compile(r"^http://127\.0\.0\.1:8000/(?:reset-password|verify-email)#token=(twm_[\w-]{32})$", re.MULTILINE)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A front door in development, which keeps its mail. What becomes of mail is the same at the other one."""
    with serving(tmp_path_factory.mktemp("door"), "fastapi", **CHEAP) as (server,):
        yield server


@pytest.fixture
def folder(door: Server) -> Path:
    """Where it keeps what it has."""
    return door.process.output.parent


def read(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return invoked(folder, "mail", "read", *arguments)


def plain_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command gave up."""
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def usage_line(folder: Path, *arguments: str) -> str:
    """What a command that was called in a wrong way has to say, below how it is called."""
    done = invoked(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    usage, *_, line = done.stderr.splitlines()
    assert usage.startswith("Usage: twinauth ")
    assert line.startswith("Error: ")
    return line


def test_message_of_development_stands_in_the_mailbox_and_in_the_log(door: Server, folder: Path, email: str) -> None:
    door.api.signup(email)
    verification = read(folder, email, "--wait", "10")
    assert verification.returncode == 0, verification.stderr
    assert door.api.post("/v1/send-password-reset", {"email": email}).status == 202
    reset = read(folder, email, *RESET, "--wait", "10")
    assert reset.returncode == 0, reset.stderr
    tokens = [LINK.findall(done.stdout) for done in (verification, reset)]
    assert [len(found) for found in tokens] == [1, 1]
    # The log is written after the mailbox.
    assert eventually(lambda: all(token in door.process.printed() for (token,) in tokens), STOP_SECONDS)
    answer = door.api.post("/v1/reset-password", {"token": tokens[1][0], "new_password": "a quite new sentence"})
    assert answer.status == 204
    listed = [line for line in invoked(folder, "mail").stdout.splitlines() if email in line]
    # Newest first; a notice of the new password may be on its way still.
    assert [line.split("  ")[-1] for line in listed[-2:]] == ["Set a new password", "Confirm your e-mail address"]


def test_newest_message_of_a_kind_is_read_by_any_spelling_of_the_address(
    door: Server, folder: Path, email: str
) -> None:
    door.api.signup(email)
    for _ in range(2):
        door.api.post("/v1/send-password-reset", {"email": email})
    assert eventually(lambda: invoked(folder, "mail").stdout.count(email) == 3, STOP_SECONDS)
    newest = read(folder, email.upper(), *RESET)
    verification = read(folder, email.upper(), "--kind", "email_verification")
    assert "/reset-password#token=" in newest.stdout
    assert "/verify-email#token=" in verification.stdout
    assert read(folder, email).stdout == newest.stdout


def test_nobody_else_may_read_what_development_keeps(door: Server, folder: Path, email: str) -> None:
    door.api.signup(email)
    mailbox = folder / "data" / "mail"
    assert eventually(lambda: any(path.is_file() for path in mailbox.rglob("*")), STOP_SECONDS)
    kept = [path for path in mailbox.rglob("*") if path.is_file()]
    # Nobody else comes through the folders to the files, whatever the files themselves allow.
    assert [path for path in (mailbox, *{path.parent for path in kept}) if is_open_to_others(path)] == []


def is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def test_mail_to_an_address_beyond_ascii_is_kept_and_read(door: Server, folder: Path) -> None:
    door.api.signup("jörg@bücher.example")
    done = read(folder, "jörg@xn--bcher-kva.example", "--wait", "10")
    assert done.returncode == 0, done.stderr
    assert LINK.search(done.stdout)


def test_reading_where_there_is_nothing_says_so_plainly_after_as_long_as_it_is_told_to_wait(tmp_path: Path) -> None:
    started = time.monotonic()
    line = plain_line(read(tmp_path, "ann@example.com", "--wait", "1.5"))
    assert line == f"Error: there is no such message in {tmp_path / 'data' / 'mail'}"
    assert time.monotonic() - started >= 1.5
    nothing = invoked(tmp_path, "mail")
    assert (nothing.returncode, nothing.stdout) == (0, "")


@pytest.mark.parametrize("arguments", [[], ["ann@example.com", "--kind", "spam"], ["ann@example.com", "--wait", "-1"]])
def test_reading_in_a_wrong_way_is_refused(arguments: list[str], tmp_path: Path) -> None:
    usage_line(tmp_path, "mail", "read", *arguments)


@pytest.mark.parametrize("arguments", [["mail"], ["mail", "read", "ann@example.com"]])
def test_no_mail_is_kept_where_it_goes_to_a_server(arguments: list[str], tmp_path: Path) -> None:
    url = "smtp://user:pa55word@127.0.0.1:2525"
    line = plain_line(invoked(tmp_path, *arguments, AUTH_SMTP_URL=url))
    assert "AUTH_SMTP_URL" in line
    assert "pa55word" not in line


def test_dead_letters_are_listed_without_saying_who_they_are_for_and_tried_anew(tmp_path: Path) -> None:
    """One of them alone first, which is refused again; then all of them, which are sent."""
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path / 'outbox.db'}"}
    recipients = queued(settings["AUTH_DATABASE_URL"], 3)

    def outbox(*arguments: str) -> list[str]:
        done = invoked(tmp_path, "outbox", *arguments, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    with PickyServer() as server:
        server.refused.update(dict.fromkeys(recipients, "550 5.1.1 no such user"))
        with relaying(tmp_path, AUTH_SMTP_URL=server.url, **settings) as relay:
            assert eventually(lambda: relay.printed().count("mail given up") == 3, STOP_SECONDS), relay.printed()
            lines = outbox("dead")
            form = r"[0-9a-f-]{36}  \d{4}-\d\d-\d\d \d\d:\d\dZ    1 attempts  [a-z_]+ +recipient refused: 550 5.1.1"
            assert [bool(re.fullmatch(form, line)) for line in lines] == [True] * 3
            assert "example.com" not in "".join(lines)
            first = lines[0].split()[0]
            assert outbox("retry", first) == ["1 to be tried anew"]
            assert eventually(lambda: relay.printed().count("mail given up") == 4, STOP_SECONDS), relay.printed()
            assert first in {line.split()[0] for line in outbox("dead")}
            server.refused.clear()
            assert outbox("retry", "--all") == ["3 to be tried anew"]
            assert sorted(recipient_of(email) for email in server.wait_for(3)) == recipients
            assert outbox("retry", "--all") == ["0 to be tried anew"]
    # It is no dead letter any more.
    line = plain_line(invoked(tmp_path, "outbox", "retry", first, **settings))
    assert line == "Error: there is no such message among those given up"


@pytest.mark.parametrize("arguments", [[], [UNKNOWN, "--all"], ["no-id"]])
def test_trying_anew_in_a_wrong_way_is_refused(arguments: list[str], tmp_path: Path) -> None:
    usage_line(tmp_path, "outbox", "retry", *arguments)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_mail_server_of_an_operator_takes_the_place_of_the_mailbox(
    pair: Pair, mail_server: MailServer, email: str
) -> None:
    pair.flask.api.signup(email)
    mail_server.wait_for_kind("email_verification", email)
    process = pair.flask.process
    assert not (process.output.parent / "data" / "mail").exists()
    assert "twm_" not in process.printed()
