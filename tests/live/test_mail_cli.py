"""`twinauth mail` and `twinauth outbox`: what operators and developers read of the mail, and what they can do."""

from __future__ import annotations

import re
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.mail.transports import recipient_of
from tests.live.smtp_faults import PickyServer
from tests.support.mail import MailServer
from tests.support.servers import CHEAP, STOP_SECONDS, Process, Server, eventually, relaying, run_command, serving

RESET = ("--kind", "password_reset")
UNKNOWN = "01900000-0000-7000-8000-000000000000"
LINK = re.compile(r"^http://127\.0\.0\.1:8000/(?:reset-password|verify-email)#token=(twm_[\w-]{32})$", re.MULTILINE)


def read(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(folder, "mail", "read", *arguments)


def plain_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command gave up."""
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def usage_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that was called in a wrong way has to say, below how it is called."""
    assert (done.returncode, done.stdout) == (2, "")
    usage, *_, line = done.stderr.splitlines()
    assert usage.startswith("Usage: twinauth ")
    assert line.startswith("Error: ")
    return line


def test_message_of_development_stands_in_the_mailbox_and_in_the_log(
    framework: str, email: str, tmp_path: Path
) -> None:
    with serving(tmp_path, framework, **CHEAP) as (server,):
        server.api.signup(email)
        verification = read(tmp_path, email, "--wait", "10")
        assert verification.returncode == 0, verification.stderr
        assert server.api.post("/v1/send-password-reset", {"email": email}).status == 202
        reset = read(tmp_path, email, *RESET, "--wait", "10")
        assert reset.returncode == 0, reset.stderr
        tokens = [LINK.findall(done.stdout) for done in (verification, reset)]
        assert [len(found) for found in tokens] == [1, 1]
        # The log is written after the mailbox.
        assert eventually(lambda: all(token in server.process.printed() for (token,) in tokens), STOP_SECONDS)
        answer = server.api.post("/v1/reset-password", {"token": tokens[1][0], "new_password": "a quite new sentence"})
        assert answer.status == 204
    listed = run_command(tmp_path, "mail").stdout.splitlines()
    # Newest first; a notice of the new password may be on its way still.
    assert [line.split("  ")[-1] for line in listed[-2:]] == ["Set a new password", "Confirm your e-mail address"]
    assert all(email in line for line in listed)


def test_newest_message_of_a_kind_is_read_by_any_spelling_of_the_address(email: str, tmp_path: Path) -> None:
    with serving(tmp_path, "fastapi", **CHEAP) as (server,):
        server.api.signup(email)
        for _ in range(2):
            server.api.post("/v1/send-password-reset", {"email": email})
        assert eventually(lambda: len(run_command(tmp_path, "mail").stdout.splitlines()) == 3, STOP_SECONDS)
    newest = read(tmp_path, email.upper(), *RESET)
    verification = read(tmp_path, email.upper(), "--kind", "email_verification")
    assert "/reset-password#token=" in newest.stdout
    assert "/verify-email#token=" in verification.stdout
    assert read(tmp_path, email).stdout == newest.stdout


def test_nobody_else_may_read_what_development_keeps(email: str, tmp_path: Path) -> None:
    with serving(tmp_path, "flask", **CHEAP) as (server,):
        server.api.signup(email)
        assert read(tmp_path, email, "--wait", "10").returncode == 0
    folder = tmp_path / "data" / "mail"
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept
    # Nobody else comes through the folders to the files, whatever the files themselves allow.
    assert [path for path in (folder, *{path.parent for path in kept}) if is_open_to_others(path)] == []


def is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def test_reading_where_there_is_nothing_says_so_plainly(tmp_path: Path) -> None:
    assert plain_line(read(tmp_path, "ann@example.com")) == "Error: there is no such message"
    assert run_command(tmp_path, "mail").stdout == ""
    assert run_command(tmp_path, "mail").returncode == 0


def test_reading_waits_as_long_as_it_is_told_to(tmp_path: Path) -> None:
    started = time.monotonic()
    plain_line(read(tmp_path, "ann@example.com", "--wait", "1.5"))
    assert time.monotonic() - started >= 1.5


@pytest.mark.parametrize("arguments", [[], ["ann@example.com", "--kind", "spam"], ["ann@example.com", "--wait", "-1"]])
def test_reading_in_a_wrong_way_is_refused(arguments: list[str], tmp_path: Path) -> None:
    usage_line(read(tmp_path, *arguments))


@pytest.mark.parametrize("arguments", [["mail"], ["mail", "read", "ann@example.com"]])
def test_no_mail_is_kept_where_it_goes_to_a_server(arguments: list[str], tmp_path: Path) -> None:
    url = "smtp://user:pa55word@127.0.0.1:2525"
    line = plain_line(run_command(tmp_path, *arguments, AUTH_SMTP_URL=url))
    assert "AUTH_SMTP_URL" in line
    assert "pa55word" not in line


@contextmanager
def with_dead_letters(folder: Path, server: PickyServer, *addresses: str) -> Iterator[tuple[Server, Process]]:
    """A front door and a relay, and addresses whose first message was refused for good."""
    server.refused.update(dict.fromkeys(addresses, "550 5.1.1 no such user"))
    settings = {"AUTH_SMTP_URL": server.url, "AUTH_RELAY": "false", **CHEAP}
    with serving(folder, "fastapi", **settings) as (door,):
        for address in addresses:
            door.api.signup(address)
        with relaying(folder, **settings) as relay:
            assert eventually(lambda: len(dead(folder)) == len(addresses), STOP_SECONDS), relay.printed()
            yield door, relay


def dead(folder: Path) -> list[str]:
    done = run_command(folder, "outbox", "dead")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_dead_letters_are_listed_without_saying_who_they_are_for(tmp_path: Path) -> None:
    with PickyServer() as server, with_dead_letters(tmp_path, server, "ann@example.com", "bob@example.com"):
        lines = dead(tmp_path)
    form = r"[0-9a-f-]{36}  \d{4}-\d\d-\d\d \d\d:\d\dZ    1 attempts  email_verification      recipient refused: 550"
    assert [bool(re.fullmatch(form, line)) for line in lines] == [True, True]
    assert "example.com" not in "".join(lines)


def test_dead_letter_is_tried_anew_alone_or_with_all_others(tmp_path: Path) -> None:
    addresses = ["ann@example.com", "bob@example.com", "eve@example.com"]
    with PickyServer() as server, with_dead_letters(tmp_path, server, *addresses):
        server.refused.clear()
        first, *_ = (line.split()[0] for line in dead(tmp_path))
        one = run_command(tmp_path, "outbox", "retry", first)
        assert (one.returncode, one.stdout) == (0, "1 to be tried anew\n")
        server.wait_for(1)
        assert len(dead(tmp_path)) == 2
        rest = run_command(tmp_path, "outbox", "retry", "--all")
        assert (rest.returncode, rest.stdout) == (0, "2 to be tried anew\n")
        assert sorted(recipient_of(email) for email in server.wait_for(3)) == addresses
        assert dead(tmp_path) == []
        nothing = run_command(tmp_path, "outbox", "retry", "--all")
        assert (nothing.returncode, nothing.stdout) == (0, "0 to be tried anew\n")
        # It is no dead letter any more.
        assert plain_line(run_command(tmp_path, "outbox", "retry", first))


def test_dead_letter_that_is_refused_again_is_a_dead_letter_again(tmp_path: Path) -> None:
    with PickyServer() as server, with_dead_letters(tmp_path, server, "ann@example.com") as (_, relay):
        (before,) = dead(tmp_path)
        assert run_command(tmp_path, "outbox", "retry", "--all").returncode == 0
        assert eventually(lambda: relay.printed().count("mail given up") == 2, STOP_SECONDS), relay.printed()
        (after,) = dead(tmp_path)
    assert after.split()[0] == before.split()[0]


@pytest.mark.parametrize("arguments", [[], [UNKNOWN, "--all"], ["no-id"]])
def test_trying_anew_in_a_wrong_way_is_refused(arguments: list[str], tmp_path: Path) -> None:
    usage_line(run_command(tmp_path, "outbox", "retry", *arguments))


def test_trying_anew_what_is_no_dead_letter_says_so_plainly(tmp_path: Path) -> None:
    assert run_command(tmp_path, "migrate").returncode == 0
    line = plain_line(run_command(tmp_path, "outbox", "retry", UNKNOWN))
    assert line == "Error: there is no such message among those given up"


@pytest.mark.parametrize("arguments", [["outbox", "dead"], ["outbox", "retry", "--all"], ["relay"]])
def test_command_that_needs_a_schema_says_how_to_get_it(arguments: list[str], tmp_path: Path) -> None:
    assert "twinauth migrate" in plain_line(run_command(tmp_path, *arguments))


def test_mail_to_an_address_beyond_ascii_is_kept_and_read(tmp_path: Path) -> None:
    with serving(tmp_path, "fastapi", **CHEAP) as (server,):
        server.api.signup("jörg@bücher.example")
        done = read(tmp_path, "jörg@xn--bcher-kva.example", "--wait", "10")
    assert done.returncode == 0, done.stderr
    assert LINK.search(done.stdout)


def test_mail_server_of_an_operator_takes_the_place_of_the_mailbox(email: str, tmp_path: Path) -> None:
    with MailServer() as server, serving(tmp_path, "fastapi", AUTH_SMTP_URL=server.url, **CHEAP) as (door,):
        door.api.signup(email)
        server.wait_for_kind("email_verification", email)
    assert not (tmp_path / "data" / "mail").exists()
    assert "twm_" not in door.process.printed()
