"""The command line: plain lines for plain mistakes, and commands that do what they say."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from cli.serve import links_lead_past
from core.settings.whole import Settings
from core.storage.urls import place_of
from tests.support.commands import invoked
from tests.support.contract import OPERATIONS, document
from tests.support.databases import migrated_store, postgres_url, sqlite_url
from tests.support.postgres import free_port
from tests.support.servers import (
    FRAMEWORKS,
    HOST,
    START_SECONDS,
    Server,
    eventually,
    listens,
    run_command,
    running,
    serving,
)
from tests.support.settings import SECRET

OTHER_SECRET = "7Vq1Zt6Rk0Xb3Wn8Gm5Yc2Hd4Jf9Ps5Ka"
PLACEHOLDER = "changeme-changeme-changeme-changeme"
COMMANDS = {
    "serve": ["--framework", "--host", "--port", "--fastapi-port", "--flask-port", "--workers", "--reload"],
    "migrate": [],
    "keys": ["list", "rotate", "retire", "reseal"],
    "keys list": [],
    "keys rotate": ["--algorithm"],
    "keys retire": ["--now", "--yes", "Example"],
    "secret": ["replace"],
    "secret replace": ["--yes", "Example"],
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
def test_database_that_is_away_is_named_without_user_and_password(arguments: list[str], tmp_path: Path) -> None:
    place = f"{HOST}:{free_port()}"
    port = ["--port", str(free_port())] if arguments[0] == "serve" else []
    url = f"postgresql://ann:pa55word@{place}/app"
    line = plain_line(run_command(tmp_path, *arguments, *port, AUTH_DATABASE_URL=url))
    assert line.startswith(f"Error: database app at {place} (AUTH_DATABASE_URL): ")
    assert "refused" in line
    assert "pa55word" not in line


@pytest.fixture
def reader(postgres: str) -> Iterator[str]:
    """A role that may make nothing."""
    name = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pa55word'")
        yield name
        connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "pa55word"}, "password authentication failed for user"),
        ({"username": "nobody", "password": "pa55word"}, 'failed for user "nobody"'),
        ({"database": "missing"}, 'database "missing" does not exist'),
        ({"query": {"sslmode": "require"}}, "server does not support SSL"),
        ({"query": {"schema": "public"}}, 'invalid connection option "schema"'),
        ({"query": {"options": "-c colour=red"}}, 'unrecognized configuration parameter "colour"'),
        ({"host": "nowhere.invalid"}, "nowhere.invalid"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("arguments", [["migrate"], ["clients", "list"]])
def test_what_a_server_says_when_it_refuses_is_told(
    postgres: str, tmp_path: Path, change: dict[str, Any], said: str, arguments: list[str]
) -> None:
    url = make_url(postgres).set(**change).render_as_string(hide_password=False)
    line = plain_line(invoked(tmp_path, *arguments, AUTH_DATABASE_URL=url))
    assert line.startswith(f"Error: database {place_of(url)} (AUTH_DATABASE_URL): ")
    assert said in line
    assert "pa55word" not in line
    assert str(make_url(postgres).password) not in line


def test_role_that_may_make_no_tables_is_told(postgres: str, reader: str, tmp_path: Path) -> None:
    with postgres_url(postgres) as url:
        as_reader = make_url(url).set(username=reader, password="pa55word").render_as_string(hide_password=False)
        line = plain_line(invoked(tmp_path, "migrate", AUTH_DATABASE_URL=as_reader))
        assert "permission denied for schema public" in line
        assert "pa55word" not in line


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('ae1027a6acf')",
            "its table alembic_version is another application's; AUTH_DATABASE_SCHEMA names",
        ),
        ("CREATE TABLE users (id int)", 'relation "users" already exists; another application'),
    ],
    ids=["alembic", "users"],
)
def test_another_applications_tables_are_told_and_a_schema_of_its_own_helps(
    postgres: str, tmp_path: Path, theirs: str, said: str
) -> None:
    with postgres_url(postgres) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in theirs.split("; "):
                connection.execute(statement)
        assert said in plain_line(invoked(tmp_path, "migrate", AUTH_DATABASE_URL=url))
        own = {"AUTH_DATABASE_URL": url, "AUTH_DATABASE_SCHEMA": "twinauth"}
        assert invoked(tmp_path, "migrate", **own).returncode == 0
        assert invoked(tmp_path, "clients", "create", "Reports", **own).returncode == 0


def test_another_applications_sqlite_file_is_told(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        connection.execute("CREATE TABLE users (id int)")
    line = plain_line(invoked(tmp_path, "migrate", AUTH_DATABASE_URL=f"sqlite:///{tmp_path / 'app.db'}"))
    assert "table users already exists; it is another application's" in line


def test_schema_of_a_newer_version_is_told(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "a newer version than this one" in plain_line(invoked(tmp_path, "migrate", AUTH_DATABASE_URL=url))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_does_not_serve_with_a_database_of_another_encoding(
    postgres: str, tmp_path: Path, framework: str
) -> None:
    with postgres_url(postgres, "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'") as url:
        arguments = ("serve", "--framework", framework, "--port", str(free_port()))
        line = plain_line(run_command(tmp_path, *arguments, **PRODUCTION | {"AUTH_DATABASE_URL": url}))
        assert "the encoding of the database is LATIN1 and must be UTF8" in line


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_logs_why_its_database_refuses(postgres: str, tmp_path: Path, framework: str) -> None:
    url = make_url(postgres).set(password="canary").render_as_string(hide_password=False)
    arguments = ("serve", "--framework", framework, "--port", str(port := free_port()))
    with running(tmp_path, *arguments, **PRODUCTION | {"AUTH_DATABASE_URL": url}) as process:
        server = Server(framework, port, process)
        assert eventually(lambda: listens(port), START_SECONDS)
        assert server.api.get("/readyz").status == 503
        for event in ("database_unavailable", "not_ready"):
            (line, *_) = [line for line in process.printed().splitlines() if f'"{event}"' in line]
            assert place_of(url) in line
            assert "password authentication failed" in line
        assert "canary" not in process.printed()


PRODUCTION = {
    "AUTH_ENV": "production",
    "AUTH_SECRET_KEY": SECRET,
    "AUTH_PUBLIC_URL": "https://auth.example.com",
    "AUTH_SMTP_URL": "smtps://user:pa55word@mail.example.com",
    "AUTH_DATABASE_URL": "sqlite:///twinauth.db",
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
    with serving(tmp_path, framework, **settings | {"AUTH_DATABASE_URL": migrated(tmp_path)}) as (server,):
        assert server.api.get("/readyz").status == 200
        assert "Links in mail" not in server.process.printed()
        assert "insecure_setting_allowed" not in server.process.printed()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_production_is_allowed_nevertheless_is_told_once_at_the_start(framework: str, tmp_path: Path) -> None:
    allowed = {"AUTH_INSECURE": "throttle", "AUTH_THROTTLE": "false", "AUTH_DATABASE_URL": migrated(tmp_path)}
    with serving(tmp_path, framework, **PRODUCTION | allowed) as (server,):
        lines = [line for line in server.process.printed().splitlines() if "insecure_setting_allowed" in line]
    (told,) = map(json.loads, lines)
    assert (told["name"], told["variable"], told["level"]) == ("throttle", "AUTH_THROTTLE", "warning")


def test_a_relay_tells_what_production_is_allowed_nevertheless(tmp_path: Path) -> None:
    settings = PRODUCTION | {"AUTH_RELAY": "false", "AUTH_INSECURE": "smtp", "AUTH_SMTP_URL": "smtp://mail.example.com"}
    with running(tmp_path, "relay", **settings | {"AUTH_DATABASE_URL": migrated(tmp_path)}) as process:
        assert eventually(lambda: "insecure_setting_allowed" in process.printed(), START_SECONDS)
        assert '"smtp"' in process.printed()


def test_misspelt_setting_is_refused_by_name(tmp_path: Path) -> None:
    line = plain_line(run_command(tmp_path, "migrate", AUTH_TOKEN_ACESS_TTL="60"))
    assert "AUTH_TOKEN_ACESS_TTL" in line


def test_serve_with_another_secret_than_the_stored_keys_gives_up_with_one_line(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    arguments = ("serve", "--framework", "flask", "--port", str(free_port()))
    line = plain_line(run_command(tmp_path, *arguments, AUTH_SECRET_KEY=OTHER_SECRET, AUTH_DATABASE_URL=url))
    assert "AUTH_SECRET_KEY does not open the signing keys" in line
    assert OTHER_SECRET not in line


def test_another_secret_rotates_no_key(tmp_path: Path) -> None:
    """The new key would break every login as soon as it signs."""
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    before = listed(tmp_path, url)
    line = plain_line(invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=OTHER_SECRET, AUTH_DATABASE_URL=url))
    assert "AUTH_SECRET_KEY does not open the signing keys" in line
    assert listed(tmp_path, url) == before


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
    path = tmp_path / "twinauth.db"
    line = plain_line(run(tmp_path, *arguments, AUTH_DATABASE_URL=f"sqlite:///{path}"))
    assert line == (
        f"Error: database {path} (AUTH_DATABASE_URL): it has no tables of this service yet; run twinauth migrate"
    )
    assert list(tmp_path.iterdir()) == []


READING = [["keys", "list"], ["clients", "list"], ["outbox", "dead"]]


@pytest.mark.parametrize("arguments", [*READING, ["mail"], ["mail", "read", "ann@example.com"]])
def test_command_that_reads_makes_nothing_in_the_wrong_folder_and_says_where_it_looked(
    arguments: list[str], tmp_path: Path
) -> None:
    done = invoked(tmp_path, *arguments)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "data") in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", READING)
def test_command_that_reads_makes_no_secret_and_no_key_and_names_the_database_that_has_nothing(
    arguments: list[str], empty_database: str, tmp_path: Path
) -> None:
    with migrated_store(empty_database):
        done = invoked(tmp_path, *arguments, AUTH_DATABASE_URL=empty_database)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"database {place_of(empty_database)} (AUTH_DATABASE_URL)" in done.stderr
        assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("arguments", [["migrate"], ["serve", "--framework", "flask"]])
def test_folder_that_cannot_be_made_for_a_database_is_told_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")
    port = ["--port", str(free_port())] if arguments[0] == "serve" else []
    assert str(tmp_path / "data") in plain_line(run_command(tmp_path, *arguments, *port))


@pytest.mark.parametrize("arguments", [["keys", "rotate"], ["clients", "create", "x"]])
def test_folder_that_cannot_be_made_for_a_secret_is_told_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    url = migrated(tmp_path)
    (tmp_path / "data").write_text("no folder")
    assert str(tmp_path / "data") in plain_line(invoked(tmp_path, *arguments, AUTH_DATABASE_URL=url))


def listed(folder: Path, url: str) -> list[tuple[str, str, str]]:
    """Key id, algorithm and state of every key."""
    done = invoked(folder, "keys", "list", AUTH_DATABASE_URL=url)
    assert done.returncode == 0
    return [(kid, algorithm, state) for kid, algorithm, state, *_ in map(str.split, done.stdout.splitlines())]


def test_rotated_key_is_published_before_it_signs_and_keys_are_sealed_anew(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    done = invoked(tmp_path, "keys", "rotate", "--algorithm", "RS256", AUTH_DATABASE_URL=url)
    assert done.returncode == 0
    second = done.stdout.split()[0]
    (first, *second_and_more) = listed(tmp_path, url)
    assert first[1:] == ("ES256", "signing")
    assert second_and_more == [(second, "RS256", "next")]
    assert "2 keys" in invoked(tmp_path, "keys", "reseal", AUTH_DATABASE_URL=url).stdout


def test_a_key_that_leaked_is_retired_and_the_next_one_signs(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    following = invoked(tmp_path, "keys", "rotate", AUTH_DATABASE_URL=url).stdout.split()[0]
    leaked = listed(tmp_path, url)[0][0]
    done = invoked(tmp_path, "keys", "retire", leaked, "--now", "--yes", AUTH_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (0, f"{leaked} is retired; {following} signs\n")
    assert listed(tmp_path, url) == [(following, "ES256", "signing")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--yes"], 2, "--now ends one that leaked"),
        (["--now"], 1, "Aborted"),  # nobody answers
        (["--now", "--yes"], 1, "there is none with this id"),
    ],
    ids=["not now", "not asked", "no such key"],
)
def test_no_key_is_retired_where_that_is_not_said_clearly(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_DATABASE_URL=url).returncode == 0
    before = listed(tmp_path, url)
    kid = "nobody's" if "--now" in arguments and "--yes" in arguments else before[0][0]
    done = invoked(tmp_path, "keys", "retire", kid, *arguments, AUTH_DATABASE_URL=url)
    assert done.returncode == code
    assert said in done.stderr
    assert listed(tmp_path, url) == before


@pytest.mark.parametrize("start", ["-C", "--"])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_id_of_a_key_may_begin_with_a_dash(tmp_path: Path, start: str, *, is_first: bool) -> None:
    url, kid = migrated(tmp_path), f"{start}FuTfB9PA_A7nYQd38h3uYWMFxIAiWinTFo2ExwmdE"
    invoked(tmp_path, "keys", "rotate", AUTH_DATABASE_URL=url)
    arguments = [kid, "--now", "--yes"] if is_first else ["--now", "--yes", kid]
    done = invoked(tmp_path, "keys", "retire", *arguments, AUTH_DATABASE_URL=url)
    assert (done.returncode, "there is none with this id" in done.stderr) == (1, True), done.stderr
    typo = invoked(tmp_path, "keys", "retire", kid, "--nwo", AUTH_DATABASE_URL=url)
    assert (typo.returncode, "--nwo" in typo.stderr) == (2, True)


def test_a_secret_that_leaked_is_replaced_with_all_that_it_protected(tmp_path: Path) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    before = {kid for kid, *_ in listed(tmp_path, url)}
    new = {"AUTH_SECRET_KEY": OTHER_SECRET, "AUTH_DATABASE_URL": url}
    done = invoked(tmp_path, "secret", "replace", "--yes", **new)
    ended, signs = done.stdout.splitlines()
    assert (done.returncode, ended) == (0, "0 sessions, 0 links and every signing key have ended")
    (found,) = listed(tmp_path, url)
    assert found == (signs.split()[0], "ES256", "signing")
    assert found[0] not in before
    assert invoked(tmp_path, "keys", "rotate", **new).returncode == 0


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        ({"AUTH_SECRET_KEY": SECRET}, ["--yes"], "AUTH_SECRET_KEY opens the signing keys, so it is the old one"),
        ({"AUTH_OLD_SECRET_KEYS": SECRET}, ["--yes"], "AUTH_OLD_SECRET_KEYS: a secret that leaked"),
        ({}, [], "Aborted"),  # nobody answers
    ],
    ids=["no new one", "the old one listed", "not asked"],
)
def test_no_secret_is_replaced_where_that_would_be_of_no_use_or_is_not_confirmed(
    tmp_path: Path, change: dict[str, str], arguments: list[str], said: str
) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    before = listed(tmp_path, url)
    given = {"AUTH_SECRET_KEY": OTHER_SECRET, "AUTH_DATABASE_URL": url} | change
    done = invoked(tmp_path, "secret", "replace", *arguments, **given)
    assert done.returncode == 1
    assert said in done.stderr
    assert SECRET not in done.stderr
    assert listed(tmp_path, url) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "rotate"],
        ["keys", "reseal"],
        ["keys", "retire", "any", "--now", "--yes"],
        ["secret", "replace", "--yes"],
        ["clients", "create", "Orders"],
        ["serve", "--framework", "flask"],
        ["serve", "--framework", "fastapi"],
        ["relay"],
    ],
    ids=" ".join,
)
def test_no_command_makes_a_secret_for_a_database_that_has_keys(tmp_path: Path, arguments: list[str]) -> None:
    url = migrated(tmp_path)
    assert invoked(tmp_path, "keys", "rotate", AUTH_SECRET_KEY=SECRET, AUTH_DATABASE_URL=url).returncode == 0
    run = run_command if arguments[0] in ("serve", "relay") else invoked
    port = ["--port", str(free_port())] if arguments[0] == "serve" else []
    line = plain_line(run(tmp_path, *arguments, *port, AUTH_DATABASE_URL=url))
    assert "were stored under a secret that is not here" in line
    assert not (tmp_path / "data").exists()


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
