"""The stack as people run it: it comes up, it is closed, it moves, and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from io import StringIO
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from dotenv import dotenv_values

from core.http.edge.edge import HSTS
from core.settings.groups import DatabaseSettings
from core.sql_store import open_store
from lab.faults.history import Outcome, Record, violations
from lab.faults.setup import GRACE
from lab.faults.workload import Service, Users, remains_of, slowest
from lab.fuzz.odd_requests import ODD_REQUESTS
from lab.fuzz.twins import Known
from lab.fuzz.wire import LiveTwins
from lab.stack.compose import DOORS, FILES, PROJECT, UP_SECONDS, Stack, docker
from tests.support.api import PASSWORD
from tests.support.certificates import certificate
from tests.support.databases import empty
from tests.support.documents import blocks
from tests.support.drivers import Answer, LiveDriver
from tests.support.live import Figures
from tests.support.postgres import free_port
from tests.support.servers import HOST, ROOT, Process, Server, eventually, parsed
from tests.support.unreadable import UNREAD, UNREADABLE

BASE = "python:3.13-slim"
MAY_ADD = 90_000_000  # bytes on top of the base
FIRST_ANSWER = 3.0  # seconds
RETRIED = 60.0  # seconds, in which the relay tries again after 5, 10 and 20 at most
GUIDE = ROOT / "docs" / "guides" / "stack.md"
FOLDER = ROOT / "deploy" / "compose"
# The faults are played with mail that stays where it can be counted, and without a throttle that would stop the users.
CROWDED = {"STACK_RELAY": "false", "STACK_THROTTLE": "false"}


# What stands there


def test_everything_is_well(stack: Stack) -> None:
    for service in ("postgres", "proxy", *DOORS.values()):
        (found,) = stack.containers(service)
        assert found["State"]["Health"]["Status"] == "healthy", service
    for service in ("migrate", "role", "secrets"):
        (found,) = stack.containers(service)
        assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 0), service
    assert stack.api.get("/readyz").status == 200


@pytest.mark.parametrize("door", DOORS.values())
def test_a_door_can_do_nothing_but_serve(stack: Stack, door: str) -> None:
    (found,) = stack.containers(door)
    host = found["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    assert host["PortBindings"] == {}
    status = stack.compose("exec", "-T", door, "cat", "/proc/1/status")
    assert re.search(r"^Uid:\s+10001\s+10001", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0000000000000000$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0000000000000000$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    stack.compose("exec", "-T", door, "sh", "-c", "! touch /opt/twinauth/x 2>/dev/null && ! touch /x 2>/dev/null")
    for module in ("pip", "pytest"):  # nothing is installed here, and nothing is tested
        stack.compose("exec", "-T", door, "sh", "-c", f"! python -c 'import {module}' 2>/dev/null")


@pytest.mark.parametrize(("door", "other"), [("fastapi", "flask"), ("flask", "fastapi")])
def test_an_image_is_small_and_has_only_what_its_door_needs(
    stack: Stack, door: str, other: str, figures: Figures
) -> None:
    (image,), (base,) = (json.loads(docker("image", "inspect", name)) for name in (f"twinauth-{door}", BASE))
    added = image["Size"] - base["Size"]
    figures(f"twinauth-{door}: {added / 1e6:.1f} MB on top of its base of {base['Size'] / 1e6:.0f} MB")
    assert added < MAY_ADD
    stack.compose("exec", "-T", DOORS[door], "python", "-c", f"import {door}")
    stack.compose("exec", "-T", DOORS[door], "sh", "-c", f"! python -c 'import {other}' 2>/dev/null")


def test_no_secret_is_in_an_image_a_variable_or_a_log(stack: Stack) -> None:
    key = (stack.folder / "secret_key").read_text()
    password = _password(stack)
    everywhere = [docker("history", "--no-trunc", f"twinauth-{door}") for door in DOORS]
    for service in ("proxy", "postgres", "migrate", "role", "secrets", "mailpit", *DOORS.values()):
        for container in stack.containers(service):
            everywhere += [json.dumps(container), stack.logs(container["Id"])]
    for text in everywhere:
        assert key not in text
        assert password not in text


@pytest.mark.parametrize("service", ["postgres", "proxy", "mailpit"])
def test_a_container_that_needs_no_secret_can_read_none_also_as_root(stack: Stack, service: str) -> None:
    """With all that root may do, which no part of the stack may: everything that is mounted into it."""
    secrets = [(stack.folder / "secret_key").read_text(), _password(stack)]
    (container,) = stack.containers(service)
    for mount in container["Mounts"]:
        source = mount.get("Name") or mount["Source"]
        read = ["run", "--rm", "--volume", f"{source}:/read:ro", "--entrypoint", "grep", "postgres:17"]
        for secret in secrets:
            with pytest.raises(AssertionError):  # grep found nothing
                docker(*read, "--recursive", "--quiet", "--text", secret, "/read")


def _password(stack: Stack) -> str:
    found = re.search(r":([0-9a-f]{64})@", stack.database_url)
    assert found
    return found[1]


def test_the_service_is_no_superuser_of_its_database(stack: Stack) -> None:
    with psycopg.connect(stack.database_url) as connection:
        asked = "SELECT usesuper, current_user = 'twinauth' FROM pg_user WHERE usename = current_user"
        assert connection.execute(asked).fetchone() == (False, True)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT pg_read_file('/etc/hostname')")


@pytest.mark.usefixtures("stack")
def test_what_only_its_owner_may_read_in_the_clone_is_read_by_the_parts(tmp_path: Path) -> None:
    """A clone that was made with a umask of 077."""
    clone = tmp_path / "compose"
    shutil.copytree(FOLDER, clone)
    for path in [clone, *clone.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    docker("build", "--tag", f"{PROJECT}-strict", str(clone))
    try:
        read = "cat /etc/twinauth/* >/dev/null && test -x /etc/twinauth/split"
        docker("run", "--rm", "--cap-drop", "ALL", f"{PROJECT}-strict", "sh", "-c", read)
    finally:
        docker("image", "rm", f"{PROJECT}-strict")


@pytest.mark.parametrize("door", DOORS)
def test_the_first_answer_comes_soon(stack: Stack, door: str, figures: Figures) -> None:
    service = DOORS[door]
    stack.compose("stop", service)
    (container,) = stack.containers(service)
    docker("start", container["Id"])
    (address,) = stack.addresses(service)

    def answers() -> bool:
        try:
            return LiveDriver(f"http://{address}:8000").send("GET", "/readyz", [], b"").status == 200
        except OSError:
            return False

    assert eventually(answers, 30)
    answered = datetime.now(UTC)
    (container,) = stack.containers(service)
    seconds = (answered - datetime.fromisoformat(container["State"]["StartedAt"])).total_seconds()
    figures(f"{service}: the first answer {seconds:.2f} s after the container was started")
    stack.up()
    assert seconds < FIRST_ANSWER


# As the guide says


@pytest.mark.parametrize("door", DOORS)
def test_the_walk_of_the_guide(stack: Stack, door: str) -> None:
    (walk,) = [block for block in blocks(GUIDE.read_text(), "sh") if "send-password-reset" in block]
    lead(stack, door)
    script = walk.replace("http://127.0.0.1:8080", stack.url).replace("http://127.0.0.1:8025", stack.mail_url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("ann@", f"ann.{door}@")],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.lower() for line in lines if line.lower().startswith("x-served-by")] == [f"x-served-by: {door}"] * 6
    assert lines[-2:] == ["401", "200"]


def lead(stack: Stack, door: str) -> None:
    """Let this door have everything."""
    stack.split({"fastapi": 0, "flask": 100}[door])
    assert eventually(lambda: stack.api.get("/healthz").header("X-Served-By") == door, 5)


@pytest.mark.parametrize("door", DOORS)
def test_a_client_has_the_address_that_the_proxy_sees(stack: Stack, door: str) -> None:
    """Not the one that it claims, and not the proxy's own. From this machine, that is the gateway of the network."""
    lead(stack, door)
    email = f"adam.{door}@example.com"
    stack.api.signup(email)
    claimed = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")]
    login = {"email": email, "password": PASSWORD}
    token = stack.api.post("/v1/login", login, headers=claimed).json["access_token"]
    (network,) = json.loads(docker("network", "inspect", f"{PROJECT}_front"))
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    assert [gateway] != stack.addresses("proxy")
    assert [session["ip"] for session in stack.api.get("/v1/sessions", token=token).json["items"]] == [gateway]


@dataclass(frozen=True)
class Tls:
    """The stack under another address, spoken to by who trusts its certificate alone."""

    url: str
    trusted: Path

    def ask(self, path: str, *arguments: str) -> Answer:
        line = ["curl", "-sS", "--http2", "-i", "--cacert", str(self.trusted), *arguments, self.url + path]
        done = subprocess.run(line, capture_output=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return parsed(done.stdout)


def in_env(heading: str) -> dict[str, str]:
    """What this chapter of the guide writes into `.env`."""
    (found,) = blocks(chapter(heading), "ini")
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(found)).items()}


def chapter(heading: str) -> str:
    _, _, rest = GUIDE.read_text().partition(f"\n## {heading}\n")
    return rest.partition("\n## ")[0]


def lines_of(heading: str, word: str) -> list[str]:
    """Of this chapter's block with the word in it."""
    (found,) = [block for block in blocks(chapter(heading), "sh") if word in block]
    return found.splitlines()


def as_root(folder: Path, script: str) -> None:
    """Run it in the folder as root, which whoever runs the tests need not be."""
    docker("run", "--rm", "--volume", f"{folder}:{folder}", "--entrypoint", "sh", "postgres:17", "-c", script)


def hook() -> str:
    """What certbot runs after each renewal."""
    (found,) = [block for block in blocks(chapter("TLS"), "sh") if "install -d" in block]
    return found


def tell_the_proxy(stack: Stack) -> None:
    """The last line of the hook, where no file of the stack is."""
    line = hook().splitlines()[-1].replace("-p twinauth ", f"-p {PROJECT} ")
    assert PROJECT in line
    done = subprocess.run(["sh", "-c", line], cwd=stack.folder, capture_output=True, check=False, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def copied(folder: Path) -> Path:
    """A certificate where certbot keeps it, copied by the hook in the guide to where the proxy may read it."""
    live, archive, copies = (folder / name for name in ("live", "archive", "copies"))
    for made in (live, archive, copies):
        made.mkdir()
    found = certificate(archive)
    for path, name in ((found.file, "fullchain.pem"), (found.key, "privkey.pem")):
        path.chmod(0o600)
        (live / name).symlink_to(f"../archive/{path.name}")
    script, _, _ = hook().partition("docker compose")
    for there, here in (("/etc/letsencrypt/live/auth.example.com", live), (in_env("TLS")["TLS_FOLDER"], copies)):
        assert there in script
        script = script.replace(there, str(here))
    as_root(folder, script)
    return copies


@pytest.fixture
def encrypted(tmp_path: Path) -> tuple[Tls, dict[str, str]]:
    """What the guide says of TLS, with a certificate and a port of the test's own."""
    port = free_port()
    here = {"TLS_FOLDER": str(copied(tmp_path)), "TLS_PORT": str(port), "TWINAUTH_URL": f"https://{HOST}:{port}"}
    assert here.keys() < in_env("TLS").keys()
    return Tls(here["TWINAUTH_URL"], tmp_path / "archive" / f"{HOST}.pem"), in_env("TLS") | here


@contextmanager
def changed(stack: Stack, settings: dict[str, str]) -> Iterator[None]:
    """The stack with these settings, reached by the tests as before."""
    settings = settings | {"COMPOSE_FILE": f"{settings['COMPOSE_FILE']}:deploy/compose/test.yml"}
    for needed in settings.keys() & {"TWINAUTH_URL", "TLS_FOLDER", "SMTP_URL_FILE", "MAIL_FROM"}:
        with pytest.raises(AssertionError, match=needed):
            stack.compose("config", "--quiet", seconds=30, **settings | {needed: ""})
    try:
        stack.up(**settings)
        yield
        tell_the_proxy(stack)
        assert eventually(lambda: stack.api.get("/healthz").status == 200, 5)
    finally:
        stack.up()


def test_tls_is_an_overlay(stack: Stack, encrypted: tuple[Tls, dict[str, str]]) -> None:
    tls, settings = encrypted
    with changed(stack, settings):
        assert tls.ask("/.well-known/oauth-authorization-server").json["issuer"] == tls.url
        token = stack.api.signed_in("tess@example.com")["access_token"]
        whoami = tls.ask("/v1/whoami", "-H", f"Authorization: Bearer {token}")
        assert (whoami.status, whoami.header("Strict-Transport-Security")) == (200, HSTS)


def test_real_users_are_an_overlay(stack: Stack, encrypted: tuple[Tls, dict[str, str]], tmp_path: Path) -> None:
    """Mail goes where the file says; here that is the catcher, which still runs beside the stack that has none."""
    tls, settings = encrypted
    file = tmp_path / "smtp_url"
    (write,) = [block for block in blocks(chapter("Real users"), "sh") if "install" in block]
    _, _, install = write.partition("| sudo ")
    settings |= in_env("Real users")
    as_root(tmp_path, f"printf smtp://mailpit:1025 | {install.replace(settings['SMTP_URL_FILE'], str(file))}")
    settings["SMTP_URL_FILE"] = str(file)
    assert "mailpit" not in stack.compose("config", "--services", seconds=30, **settings)
    with changed(stack, settings):
        assert tls.ask("/docs").status == 404
        stack.api.signup("rose@example.com")
        stack.api.post("/v1/send-password-reset", {"email": "rose@example.com"})
        assert tls.ask("/healthz").header("X-Served-By") is None
        assert eventually(lambda: _senders(stack, "rose@example.com") == {"no-reply@auth.example.com"}, 20)
        *_, remove = lines_of("Real users", "rm --stop")
        by_hand(stack, tmp_path, remove, **settings)
        assert "mailpit" not in stack.compose("ps", "-a", "--services")


def _letters(stack: Stack) -> list[dict[str, Any]]:
    """What the catcher has; nothing while it starts."""
    try:
        answer = LiveDriver(stack.mail_url).send("GET", "/api/v1/messages", [], b"")
    except (OSError, HTTPException):
        return []
    return cast("list[dict[str, Any]]", answer.json["messages"])


def _senders(stack: Stack, recipient: str) -> set[str]:
    return {letter["From"]["Address"] for letter in _letters(stack) if letter["To"][0]["Address"] == recipient}


def _recipients(stack: Stack, subject: str) -> set[str]:
    return {letter["To"][0]["Address"] for letter in _letters(stack) if letter["Subject"] == subject}


def by_hand(stack: Stack, folder: Path, script: str, **settings: str) -> None:
    """Run lines of the guide in the folder."""
    settings = stack.environment | settings
    settings["COMPOSE_FILE"] = ":".join(str(ROOT / name) for name in settings["COMPOSE_FILE"].split(":"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=UP_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def test_a_backup_is_all_that_there_is(stack: Stack, tmp_path: Path) -> None:
    """As the guide says it: saved, deleted with all volumes, and brought back."""
    save, restore = blocks(chapter("Backup, and another place"), "sh")
    pair = stack.api.signed_in("bea@example.com")
    by_hand(stack, tmp_path, save)
    stack.compose("down", "--volumes")
    by_hand(stack, tmp_path, restore)
    stack.take_secrets()
    assert stack.api.whoami(pair["access_token"]).status == 200
    assert stack.api.refresh(pair["refresh_token"]).status == 200
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}


def test_the_secret_key_is_changed(stack: Stack, tmp_path: Path) -> None:
    change, forget = blocks(chapter("Change the secret key"), "sh")
    before, pair = (stack.folder / "secret_key").read_text(), stack.api.signed_in("kay@example.com")
    by_hand(stack, tmp_path, change)
    stack.take_secrets()
    assert (stack.folder / "secret_key").read_text() != before
    assert stack.api.whoami(pair["access_token"]).status == 200
    refreshed = stack.api.refresh(pair["refresh_token"])
    by_hand(stack, tmp_path, forget)
    assert stack.read_secret("old_secret_keys") == ""
    assert stack.api.refresh(refreshed.json["refresh_token"]).status == 200


# A database elsewhere

ELSEWHERE = f"{PROJECT}-elsewhere"


@contextmanager
def database_elsewhere(folder: Path) -> Iterator[Path]:
    """A PostgreSQL that belongs to nobody of the stack; the certificate of who signed its own."""
    made = certificate(folder, ELSEWHERE)
    as_root(folder, f"install -o postgres -m 0400 {made.key} {folder}/key")
    run = ["run", "--detach", "--name", ELSEWHERE, "--network", f"{PROJECT}_front", "--volume", f"{folder}:/tls:ro"]
    tls = ["-c", "ssl=on", "-c", f"ssl_cert_file=/tls/{made.file.name}", "-c", "ssl_key_file=/tls/key"]
    docker(*run, "--env", "POSTGRES_PASSWORD=elsewhere", "postgres:17", "postgres", *tls)
    try:
        assert eventually(_is_elsewhere, 60)
        yield made.file
    finally:
        docker("rm", "--force", "--volumes", ELSEWHERE)


def _is_elsewhere() -> bool:
    """Over TCP, as in the stack: while a database is being made, its server has no address."""
    try:
        docker("exec", ELSEWHERE, "pg_isready", "--quiet", "--host=127.0.0.1")
    except AssertionError:
        return False
    return True


def test_a_database_of_ones_own_is_an_overlay(stack: Stack, tmp_path: Path) -> None:
    """As the guide says it: users and sessions move there, and nobody speaks to it without knowing who it is."""
    heading, folder = "A PostgreSQL of your own", tmp_path / "tls"
    folder.mkdir()
    settings = in_env(heading)
    overlay = settings["COMPOSE_FILE"].split(":")[-1]
    settings["COMPOSE_FILE"] = ":".join([*FILES, overlay])
    file = tmp_path / "database_url"
    *_, install = lines_of(heading, "install")[-1].partition("| sudo ")
    *_, parameters = lines_of(heading, "install")[0].partition("?")
    url = f"postgresql://postgres:elsewhere@{ELSEWHERE}:5432/postgres?{parameters.partition(':')[0]}"
    as_root(tmp_path, f"printf %s '{url}' | {install.replace(settings['DATABASE_URL_FILE'], str(file))}")
    (stop,) = re.findall(r"`(docker compose stop [^`]+)`", chapter(heading))
    save, _ = blocks(chapter("Backup, and another place"), "sh")
    pair = stack.api.signed_in("dora@example.com")
    with database_elsewhere(folder) as trusted:
        settings |= {"DATABASE_URL_FILE": str(file), "DATABASE_CA_FILE": str(trusted)}
        with pytest.raises(AssertionError, match="DATABASE_URL_FILE"):
            stack.compose("config", "--quiet", seconds=30, **settings | {"DATABASE_URL_FILE": ""})
        by_hand(stack, tmp_path, f"{stop}\n{save}")
        by_hand(stack, tmp_path, "\n".join(lines_of(heading, "pg_restore")), **settings)
        try:
            by_hand(stack, tmp_path, "\n".join(lines_of(heading, "rm --stop")), **settings)
            assert "postgres" not in stack.compose("ps", "-a", "--services")
            assert stack.api.whoami(pair["access_token"]).status == 200
            assert stack.api.refresh(pair["refresh_token"]).status == 200
            asked = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_port > 0"
            assert docker("exec", ELSEWHERE, "psql", "-U", "postgres", "-Atc", asked) == "t\n"
            settings["DATABASE_CA_FILE"] = str(certificate(tmp_path, ELSEWHERE).file)  # of the same name, by another
            with pytest.raises(AssertionError, match="certificate verify failed"):
                stack.compose("run", "--rm", "migrate", seconds=60, **settings)
        finally:
            stack.up()


# The contract, from outside


@pytest.mark.parametrize("door", DOORS)
def test_the_contract_holds_through_the_proxy(stack: Stack, door: str, figures: Figures) -> None:
    stack.up(**CROWDED | {"STACK_THROTTLE": "true"})
    lead(stack, door)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rf", "tests/contract"],
        cwd=ROOT,
        env={
            **os.environ,
            "AUTH_TEST_STACK": stack.url,
            "AUTH_TEST_STACK_DOOR": door,
            "AUTH_TEST_STACK_SECRETS": str(stack.folder),
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=1800,
    )
    summary = done.stdout.splitlines()[-1]
    figures(f"the contract through the proxy, {door}: {summary}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    passed = re.search(r"(\d+) passed", summary)
    assert passed
    assert int(passed[1]) > 800


# Hostile clients, at the doors themselves


def _server(stack: Stack, door: str) -> Server:
    (address,) = stack.addresses(DOORS[door])
    return Server(door, 8000, cast("Process", None), host=address)


@pytest.mark.parametrize("name", sorted(ODD_REQUESTS))
def test_neither_image_reads_what_the_other_does_not(stack: Stack, tmp_path: Path, name: str) -> None:
    flask, fastapi = (_server(stack, door).url for door in ("flask", "fastapi"))
    LiveTwins(flask, fastapi, cast("Known", None), tmp_path).ask(ODD_REQUESTS[name])


@pytest.mark.parametrize("name", sorted(UNREADABLE))
@pytest.mark.parametrize("door", DOORS)
def test_an_image_refuses_what_is_no_request(stack: Stack, door: str, name: str) -> None:
    answer = parsed(_server(stack, door).raw(UNREADABLE[name]))
    assert 400 <= answer.status < 500
    assert answer.json["code"] in UNREAD


# Nothing that was acknowledged is lost


@contextmanager
def crowded(stack: Stack, figures: Figures, name: str) -> Iterator[Record]:
    """Many users at work through the proxy, and a look at the history at the end."""
    store = open_store(stack.database_url, DatabaseSettings())
    try:
        empty(store)
    finally:
        store.close()
    record = Record()
    users = Users(Service([stack.api], record), seed=int(time.time()))
    with users.at_work():
        time.sleep(1)
        yield record
        time.sleep(1)
    during = record.summary()
    assert eventually(lambda: stack.api.get("/readyz").status == 200, 30)
    users.ask_for_everything()
    operations = record.operations
    figures(f"{name}: {during}; slowest {slowest(operations):.2f} s")
    found = violations(operations, remains_of(stack.database_url, operations), grace=GRACE)
    assert found == []
    assert sum(operation.is_ok for operation in operations) > 20


@pytest.mark.parametrize("service", [*DOORS.values(), "postgres", "proxy"])
def test_a_restart_under_load_loses_nothing_that_was_acknowledged(stack: Stack, service: str, figures: Figures) -> None:
    stack.up(**CROWDED)
    stack.split(50)
    with crowded(stack, figures, f"restart of {service}"):
        stack.compose("restart", service)
        stack.up("--no-recreate", **CROWDED)


def test_letters_wait_for_a_mail_server_that_is_away(stack: Stack, figures: Figures) -> None:
    """It keeps its letters in memory: whatever it has in the end came after it was back."""
    stack.up(STACK_THROTTLE="false")
    recipients = {f"late.{number}@example.com" for number in range(10)}
    for recipient in recipients:
        stack.api.signup(recipient)
    stack.compose("stop", "mailpit")
    asked = {stack.api.ask_for_reset(recipient).status for recipient in recipients}
    time.sleep(3)  # each was tried meanwhile
    stack.compose("start", "mailpit")
    back = time.monotonic()
    assert asked == {202}
    assert eventually(lambda: _recipients(stack, "Set a new password") == recipients, RETRIED)
    figures(f"{len(recipients)} letters after {time.monotonic() - back:.1f} s with the mail server")


def test_with_two_of_each_a_restart_of_one_is_not_noticed(stack: Stack, figures: Figures) -> None:
    two = CROWDED | in_env("More of each")
    stack.up("--scale", "api-flask=1", **two)
    assert [len(stack.containers(door)) for door in DOORS.values()] == [2, 1]
    stack.up(**two)  # whatever one command said, the next one has what is set
    stack.split(50)
    before = {
        container["Id"]: _served(stack, container["Id"])
        for door in DOORS.values()
        for container in stack.containers(door)
    }
    assert len(before) == 4
    with crowded(stack, figures, "restart of one replica of each") as record:
        for door in DOORS.values():
            docker("restart", "--time", "40", stack.containers(door)[0]["Id"])
    # One for which no core was free is told so (503, "overloaded"), with or without a restart.
    lost = [found for found in record.operations if found.outcome == Outcome.UNKNOWN or not found.status]
    assert lost == []
    served = {container: _served(stack, container) - count for container, count in before.items()}
    assert min(served.values()) > 0, f"one of them got no request: {served}"
    stack.up(**CROWDED)


def _served(stack: Stack, container: str) -> int:
    return stack.logs(container).count('"/v1/')


# Traffic moves


class Visitors:
    """People who are logged in, and go on while the traffic moves under them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._is_over = threading.Event()
        self.answers: list[tuple[int, str]] = []

    def stay(self, number: int) -> None:
        """Ask who one is, and refresh, until it is over."""
        pair = self._stack.api.signed_in(f"visitor.{number}.{time.time_ns()}@example.com")
        while not self._is_over.is_set():
            for answer in (
                self._stack.api.whoami(pair["access_token"]),
                self._stack.api.refresh(pair["refresh_token"]),
            ):
                self.answers.append((answer.status, answer.header("X-Served-By") or "nobody"))
            if answer.status == 200:
                pair = answer.json

    @contextmanager
    def staying(self, count: int) -> Iterator[None]:
        threads = [threading.Thread(target=self.stay, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join(30)

    def share_of_flask(self, since: int) -> float:
        """Of the answers since then."""
        doors = Counter(door for _, door in self.answers[since:])
        return doors["flask"] / max(1, doors.total())


def test_all_traffic_moves_from_one_door_to_the_other_without_a_failed_session(stack: Stack, figures: Figures) -> None:
    stack.up(**CROWDED)
    stack.split(0)
    visitors, shares = Visitors(stack), {}
    with visitors.staying(6):
        for percent in range(0, 101, 10):
            stack.split(percent)
            time.sleep(0.7)  # the workers that had the old share finish what they have
            since = len(visitors.answers)
            assert eventually(lambda since=since: len(visitors.answers) > since + 200, 30)  # type: ignore[misc]  # a default binds it
            shares[percent] = visitors.share_of_flask(since)
    figures(
        f"{len(visitors.answers)} answers, shares of Flask: "
        + ", ".join(f"{percent}: {share:.2f}" for percent, share in shares.items())
    )
    assert {status for status, _ in visitors.answers} == {200}
    assert shares[0] == 0
    assert shares[100] == 1
    assert all(abs(share - percent / 100) < 0.15 for percent, share in shares.items())


def test_a_new_version_comes_one_door_at_a_time(stack: Stack, tmp_path: Path) -> None:
    """As the guide says it, with another setting in the place of another version."""
    settings = CROWDED | in_env("From one framework to the other")
    stack.up(**settings | {"STACK_THROTTLE": "true"})
    stack.split(20)
    (block,) = blocks(chapter("A new version"), "sh")
    pull, _, rest = block.partition("\n")
    assert pull == "git pull && docker compose build"
    before = {door: stack.containers(door)[0]["Id"] for door in DOORS.values()}
    visitors = Visitors(stack)
    with visitors.staying(6):
        by_hand(stack, tmp_path, rest, **settings)
    assert {status for status, _ in visitors.answers} == {200}
    assert {door: stack.containers(door)[0]["Id"] == before[door] for door in before} == dict.fromkeys(before, False)
    assert _share(stack) == settings["FLASK_PERCENT"]
    stack.split(20)
    stack.compose("restart", "proxy", seconds=60, **settings)
    assert _share(stack) == settings["FLASK_PERCENT"], "it is applied whenever the proxy starts"


def _share(stack: Stack) -> str:
    (found,) = re.findall(r"(\d+)% api-flask;", stack.compose("exec", "-T", "proxy", "cat", "/tmp/split.conf"))
    return str(found)


def test_a_share_that_is_none_is_refused(stack: Stack) -> None:
    for wrong in ("101", "-1", "x", "", "05"):
        with pytest.raises(AssertionError, match="from 0 to 100"):
            stack.compose("exec", "-T", "proxy", "/bin/sh", "/etc/twinauth/split", wrong)


# Its end


def test_nothing_is_left_of_it(stack: Stack) -> None:
    """The last test: it takes the stack down."""
    stack.compose("down", "--volumes", "--remove-orphans", seconds=200)
    assert stack.compose("ps", "-aq") == ""
    label = f"label=com.docker.compose.project={PROJECT}"
    for kind in ("volume", "network"):
        assert docker(kind, "ls", "-q", "--filter", label) == ""
