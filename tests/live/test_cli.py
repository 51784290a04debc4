"""The command line: plain lines for plain mistakes, and commands that do what they say."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from cli.serve import links_lead_past
from core.settings.whole import Settings
from tests.support.commands import invoked
from tests.support.contract import OPERATIONS, document
from tests.support.databases import migrated_store, sqlite_url
from tests.support.postgres import free_port
from tests.support.servers import HOST, Server, run_command, serving
from tests.support.settings import SECRET

OTHER_SECRET = "7Vq1Zt6Rk0Xb3Wn8Gm5Yc2Hd4Jf9Ps"
PLACEHOLDER = "changeme-changeme-changeme-changeme"
COMMANDS = {
    "serve": ["--framework", "--host", "--port", "--fastapi-port", "--flask-port", "--workers", "--reload"],
    "migrate": [],
    "keys": ["list", "rotate"],
    "keys list": [],
    "keys rotate": ["--algorithm"],
    "clients": ["create", "list", "rotate-secret"],
    "mail": ["read"],
    "mail read": ["--kind", "--wait", "password_reset"],
    "outbox": ["dead", "retry"],
    "outbox dead": [],
    "outbox retry": ["--all"],
    "relay": [],
    "openapi": [],
    "settings": [],
}


def migrated(folder: Path) -> str:
    """The URL of a database with its schema; `migrate` as a command has a test of its own."""
    with sqlite_url(folder) as url, migrated_store(url):
        return url


def plain_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command gave up."""
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("arguments", [["serve", "--framework", "fastapi"], ["migrate"], ["keys", "list"]])
def test_database_that_is_away_is_named_by_its_variable_and_not_by_its_url(
    arguments: list[str], tmp_path: Path
) -> None:
    url = f"postgresql://app:pa55word@{HOST}:{free_port()}/app"
    port = ["--port", str(free_port())] if arguments[0] == "serve" else []
    line = plain_line(run_command(tmp_path, *arguments, *port, AUTH_DATABASE_URL=url))
    assert "AUTH_DATABASE_URL" in line
    assert "pa55word" not in line


PRODUCTION = {
    "AUTH_ENV": "production",
    "AUTH_SECRET_KEY": SECRET,
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "AUTH_SMTP_URL": "smtps://user:pa55word@mail.example.com",
}


# tests/unit/test_settings.py holds every such rule; this is how a start that breaks one ends.
@pytest.mark.parametrize(
    ("framework", "name", "value"),
    [
        ("fastapi", "AUTH_SECRET_KEY", PLACEHOLDER),
        ("flask", "AUTH_SMTP_URL", "smtp://user:pa55word@mail.example.com"),
    ],
)
def test_production_refuses_to_start_without_its_settings_and_shows_no_value(
    framework: str, name: str, value: str | None, tmp_path: Path
) -> None:
    settings = {**PRODUCTION, name: value}
    given = {name: value for name, value in settings.items() if value is not None}
    line = plain_line(run_command(tmp_path, "serve", "--framework", framework, "--port", str(free_port()), **given))
    assert name in line
    assert not any(secret in line for secret in (SECRET, PLACEHOLDER, "pa55word"))


def test_production_relay_refuses_to_start_without_a_mail_server(tmp_path: Path) -> None:
    """With the relay off in the serving processes none is needed there, but here it is."""
    settings = {**PRODUCTION, "AUTH_RELAY": "false"}
    del settings["AUTH_SMTP_URL"]
    settings["AUTH_DATABASE_URL"] = migrated(tmp_path)
    assert "AUTH_SMTP_URL" in plain_line(run_command(tmp_path, "relay", **settings))


WITHOUT_MAIL_SERVER = {name: value for name, value in PRODUCTION.items() if name != "AUTH_SMTP_URL"}


@pytest.mark.parametrize(
    ("framework", "settings"),
    [
        ("fastapi", PRODUCTION | {"AUTH_SMTP_URL": f"smtp://{HOST}:1"}),
        ("flask", WITHOUT_MAIL_SERVER | {"AUTH_RELAY": "false"}),
    ],
)
def test_production_serves_with_its_settings_whether_mail_leaves_from_here_or_not(
    framework: str, settings: dict[str, str], tmp_path: Path
) -> None:
    with serving(tmp_path, framework, AUTH_DATABASE_URL=migrated(tmp_path), **settings) as (server,):
        assert server.api.get("/readyz").status == 200
        assert "Links in mail" not in server.process.printed()


def test_misspelt_setting_is_refused_by_name(tmp_path: Path) -> None:
    line = plain_line(run_command(tmp_path, "migrate", AUTH_TOKEN_ACESS_TTL="60"))
    assert "AUTH_TOKEN_ACESS_TTL" in line


def test_serve_with_another_secret_than_the_stored_keys_gives_up_with_one_line(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "list", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    arguments = ("serve", "--framework", "flask", "--port", str(free_port()))
    line = plain_line(run_command(tmp_path, *arguments, AUTH_SECRET_KEY=OTHER_SECRET, AUTH_DATABASE_URL=url))
    assert "AUTH_SECRET_KEY" in line
    assert OTHER_SECRET not in line


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_door_alone_says_when_links_in_mail_lead_elsewhere(server: Server) -> None:
    assert (
        f"Links in mail lead to http://127.0.0.1:8000; if nothing serves there, set AUTH_PUBLIC_URL={server.url}\n"
        in server.process.printed()
    )


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", 8000, None),
        ("localhost", 8000, None),
        ("0.0.0.0", 8000, None),
        ("127.0.0.1", 5000, "http://127.0.0.1:5000"),
        ("0.0.0.0", 5000, "http://127.0.0.1:5000"),
        ("192.0.2.7", 8000, "http://192.0.2.7:8000"),
        ("::1", 8000, "http://[::1]:8000"),
    ],
)
def test_links_in_mail_lead_to_a_door_that_listens_at_the_public_url(host: str, port: int, told: str | None) -> None:
    assert links_lead_past(Settings(env="development"), host, port) == told


def test_serve_with_a_template_that_cannot_be_rendered_gives_up_with_one_line(tmp_path: Path) -> None:
    name = "letters/password_reset.jinja"
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("{% if %}")
    arguments = ("serve", "--framework", "flask", "--port", str(free_port()))
    line = plain_line(run_command(tmp_path, *arguments, AUTH_TEXTS_DIR=str(tmp_path)))
    assert line.startswith(f"Error: AUTH_TEXTS_DIR: {tmp_path / name}, line 1 ")


def test_serve_with_a_catalogue_that_cannot_be_read_gives_up_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "locale").mkdir()
    (tmp_path / "locale" / "fr.po").write_text('msgid "never closed')
    arguments = ("serve", "--framework", "fastapi", "--port", str(free_port()))
    line = plain_line(run_command(tmp_path, *arguments, AUTH_TEXTS_DIR=str(tmp_path)))
    assert "AUTH_TEXTS_DIR" in line
    assert "fr.po" in line


def test_migrate_a_second_time_changes_nothing(empty_database: str, tmp_path: Path) -> None:
    for _ in range(2):
        done = run_command(tmp_path, "migrate", AUTH_DATABASE_URL=empty_database)
        assert (done.returncode, done.stdout) == (0, "The database is up to date.\n")


@pytest.mark.parametrize("arguments", [["keys", "list"], ["clients", "list"], ["outbox", "dead"], ["relay"]])
def test_command_that_needs_a_schema_says_how_to_get_it(arguments: list[str], tmp_path: Path) -> None:
    run = run_command if arguments == ["relay"] else invoked
    line = plain_line(run(tmp_path, *arguments))
    assert line == "Error: the database needs its migrations: twinauth migrate"


def listed(folder: Path, url: str) -> list[tuple[str, str, str]]:
    """Key id, algorithm and state of every key."""
    done = invoked(folder, "keys", "list", AUTH_DATABASE_URL=url)
    assert done.returncode == 0
    return [(kid, algorithm, state) for kid, algorithm, state, *_ in map(str.split, done.stdout.splitlines())]


def test_rotated_key_is_published_before_it_signs_and_keys_are_sealed_anew(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    ((first, *rest),) = listed(tmp_path, url)
    assert rest == ["ES256", "signing"]
    done = invoked(tmp_path, "keys", "rotate", "--algorithm", "RS256", AUTH_DATABASE_URL=url)
    assert done.returncode == 0
    second = done.stdout.split()[0]
    assert listed(tmp_path, url) == [(first, "ES256", "signing"), (second, "RS256", "next")]
    assert "2 keys" in invoked(tmp_path, "keys", "reseal", AUTH_DATABASE_URL=url).stdout


def test_openapi_prints_the_document(tmp_path: Path) -> None:
    done = invoked(tmp_path, "openapi")
    assert (done.returncode, done.stderr) == (0, "")
    printed = json.loads(done.stdout)
    assert printed == document()
    ids = {operation["operationId"] for methods in printed["paths"].values() for operation in methods.values()}
    assert ids == {operation.id for operation in OPERATIONS.values() if operation.documented}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_settings(name: str, tmp_path: Path) -> None:
    done = invoked(tmp_path, *name.split(), "--help", AUTH_ENV="production")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: twinauth {name} ")
    for word in COMMANDS[name]:
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_names_every_command(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--help", AUTH_ENV="production")
    assert (done.returncode, done.stderr) == (0, "")
    for name in COMMANDS:
        assert re.search(rf"^  {name.split()[0]} +\S", done.stdout, re.MULTILINE)


def test_clients_are_created_listed_rotated_and_disabled(tmp_path: Path) -> None:
    url = migrated(tmp_path)

    def clients(*arguments: str) -> subprocess.CompletedProcess[str]:
        return invoked(tmp_path, "clients", *arguments, AUTH_DATABASE_URL=url)

    created = clients("create", "Reports", "--scope", "orders:read")
    lines = dict(line.split() for line in created.stdout.splitlines())
    assert lines["id"].startswith("twc_")
    assert lines["secret"].startswith("tws_")
    rotated = clients("rotate-secret", lines["id"], "--overlap", "60")
    assert rotated.stdout.startswith("secret  tws_")
    assert rotated.stdout.split()[1] != lines["secret"]
    assert clients("disable", lines["id"]).returncode == 0
    listed = clients("list").stdout
    assert "disabled" in listed
    assert "Reports" in listed
    assert lines["secret"] not in listed
    for arguments in (("disable", "twc_none"), ("rotate-secret", "twc_none"), ("create", "x", "--scope", 'a"b')):
        plain_line(clients(*arguments))
