"""The files of the stack, as far as they can be judged without an engine; `make lab-stack` does the rest."""

from __future__ import annotations

import json
import re
import select
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from core.app import CLOSE_SECONDS
from core.capabilities import CONTRACT
from core.errors import (
    AuthError,
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    TargetTooLong,
)
from core.http.edge.edge import Edge
from core.settings.groups import HttpSettings
from core.settings.loading import load_settings, variables
from servers.stopping import GRACE
from tests.support.certificates import certificate
from tests.support.contract import PROBLEMS
from tests.support.descriptors import room_for
from tests.support.documents import blocks
from tests.support.drivers import Answer
from tests.support.parity import comparable
from tests.support.postgres import free_port
from tests.support.programs import program
from tests.support.servers import FRAMEWORKS, HOST, ROOT, eventually, listens, parsed
from tests.support.settings import make_settings

COMPOSE = ROOT / "docker-compose.yml"
FOLDER = ROOT / "deploy" / "compose"
PROXY = FOLDER / "proxy"
STACK: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
PRODUCTION: dict[str, Any] = yaml.safe_load((FOLDER / "production.yml").read_text())
APIS = {name: SERVICES[f"api-{name}"] for name in FRAMEWORKS}
ENVIRONMENT: dict[str, str] = APIS["fastapi"]["environment"]
DOCKERFILES = {name: (ROOT / f"Dockerfile.{name}").read_text() for name in FRAMEWORKS}


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


# The compose file


def test_the_files_have_the_form_of_compose() -> None:
    files = [str(COMPOSE), *(str(path) for path in FOLDER.glob("*.yml"))]
    done = subprocess.run(
        [_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *files],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_hardened() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert {name for name, service in SERVICES.items() if "cap_add" in service} == {"postgres", "role", "secrets"}


def test_ports_are_open_to_this_machine_alone_and_none_of_the_database_or_the_doors() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"proxy", "mailpit"}
    assert all(port.startswith(f"{HOST}:") for ports in published.values() for port in ports)
    assert SERVICES["secrets"]["network_mode"] == SERVICES["role"]["network_mode"] == "none"


MADE = ("role", "secrets")  # services that run a script of the clone, make-NAME

# What each container can read as root there, beside its own image: no more than it needs.
READS = {
    "proxy": set(),
    "mailpit": set(),
    "api-fastapi": {"secrets"},
    "api-flask": {"secrets"},
    "migrate": {"secrets"},
    "postgres": {"database", "socket"},
    "role": {"role", "socket", "./deploy/compose/make-role"},
    "secrets": {"secrets", "role", "./deploy/compose/make-secrets"},
}
GIVEN = {
    "tls": {"proxy": {"${TLS_FOLDER"}},
    "production": {"api-fastapi": {"smtp_url"}, "api-flask": {"smtp_url"}},
    "database": {name: {"database_url", "database_ca"} for name in ("api-fastapi", "api-flask", "migrate", "postgres")},
    "test": {},
}


def _read_by(services: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """What is mounted into each, by the name of the volume, folder or file; `configs` and the like are not used."""
    for service in services.values():
        assert not service.keys() & {"configs", "env_file", "volumes_from", "devices", "extends"}
    return {
        name: {mount.split(":")[0] for mount in service.get("volumes", ())} | set(service.get("secrets", ()))
        for name, service in services.items()
    }


def test_no_container_can_read_a_secret_that_it_does_not_need() -> None:
    assert _read_by(SERVICES) == READS
    assert STACK["volumes"].keys() == set().union(*READS.values()) - {f"./deploy/compose/make-{name}" for name in MADE}
    assert "secrets" not in STACK


@pytest.mark.parametrize("overlay", [path.stem for path in FOLDER.glob("*.yml")])
def test_an_overlay_gives_a_secret_to_those_who_need_it_alone(overlay: str) -> None:
    added = yaml.safe_load((FOLDER / f"{overlay}.yml").read_text())["services"]
    assert {name: found for name, found in _read_by(added).items() if found} == GIVEN[overlay]


def test_what_is_read_is_written_by_its_maker_alone() -> None:
    mounts = {name: service.get("volumes", ()) for name, service in SERVICES.items()}
    writers = {
        volume: {
            name
            for name, mounted in mounts.items()
            for mount in mounted
            if mount.startswith(f"{volume}:/") and not mount.endswith(":ro")
        }
        for volume in ("secrets", "role")
    }
    assert writers == {"secrets": {"secrets"}, "role": {"secrets"}}


def test_the_password_of_the_superuser_is_known_to_nobody() -> None:
    environment = SERVICES["postgres"]["environment"]
    assert environment == {"POSTGRES_DB": "twinauth", "POSTGRES_PASSWORD_FILE": "/proc/sys/kernel/random/uuid"}


def test_no_file_of_the_clone_is_mounted_where_its_modes_count() -> None:
    """Nobody but the owner of the clone may be allowed to read it."""
    files = [STACK, *(yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yml"))]
    mounts = [mount for file in files for service in file["services"].values() for mount in service.get("volumes", ())]
    assert len(mounts) > 4
    assert {mount for mount in mounts if mount.startswith(".")} == {
        f"./deploy/compose/make-{name}:/make-{name}:ro" for name in MADE
    }
    assert all(SERVICES[name]["cap_add"] == ["DAC_READ_SEARCH"] for name in MADE)


def test_the_database_waits_for_no_image_that_is_built() -> None:
    """Compose makes anew what was built, and who waits for it; an update would be without its database meanwhile."""
    for name in ("postgres", "role", *SERVICES["role"]["depends_on"]):
        assert "build" not in SERVICES[name], name
    assert "depends_on" not in SERVICES["postgres"]


def test_tls_is_for_addresses_that_the_proxy_can_see() -> None:
    """The network of the proxy has no IPv6: over it, the engine would be everybody's address."""
    tls = yaml.safe_load((FOLDER / "tls.yml").read_text())
    assert tls["services"]["proxy"]["ports"] == ["0.0.0.0:${TLS_PORT:-443}:8443"]
    assert not STACK["networks"]["front"]


def test_only_who_needs_the_database_is_on_its_network() -> None:
    assert STACK["networks"]["back"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["back"]
    on_it = {name for name, service in SERVICES.items() if "back" in service.get("networks", ())}
    assert on_it == {"postgres", "migrate", "api-fastapi", "api-flask"}


def test_comments_name_files_that_exist() -> None:
    files = [COMPOSE, *(path for path in FOLDER.rglob("*") if path.is_file())]
    named = {name for path in files for name in re.findall(r"\b(?:deploy|docs)/[\w./-]+\w", path.read_text())}
    assert len(named) > 3
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_nothing_in_the_file_is_a_secret() -> None:
    secret = {name for name in variables() if re.search(r"SECRET|DATABASE_URL", name)}
    for name, service in SERVICES.items():
        given: dict[str, str] = service.get("environment", {})
        assert not secret & given.keys(), name
        assert not [key for key in given if re.search(r"PASSWORD(?!_FILE)", key)], name
    assert {"AUTH_SECRET_KEY_FILE", "AUTH_DATABASE_URL_FILE"} <= ENVIRONMENT.keys()


def test_the_service_takes_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _make_secrets(tmp_path, tmp_path / "role")
    for name, value in ENVIRONMENT.items():
        default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        monkeypatch.setenv(name, default.replace("/run/twinauth", str(tmp_path)))
    settings = load_settings()
    assert settings.is_production
    assert [danger.name for danger in settings.allowed_dangers] == ["served-by", "clear-database", "smtp"]
    assert settings.old_secret_keys == ()
    assert settings.http.served_by
    assert settings.database.url.get_secret_value().endswith("@postgres:5432/twinauth")
    # The proxy asks for addresses anew each second; until then it may send a request to who is about to leave.
    assert settings.http.drain.total_seconds() > 2
    given = int(APIS["flask"]["stop_grace_period"].removesuffix("s"))
    assert given > settings.http.drain.total_seconds() + GRACE + CLOSE_SECONDS


def _in_production(service: str) -> dict[str, str]:
    """What the process is given where production.yml lies over the stack; what it gives no value is not there."""
    added: dict[str, str | None] = PRODUCTION["services"][service]["environment"]
    given = SERVICES[service]["environment"] | added
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize("service", ["api-fastapi", "api-flask", "migrate"])
def test_the_service_takes_its_settings_in_production(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _make_secrets(tmp_path, tmp_path / "role")
    for secret in PRODUCTION["services"][service].get("secrets", ()):
        (tmp_path / secret).write_text("smtp+starttls://twinauth:pw@mail.example.com:587\n")
    said = {"TWINAUTH_URL": "https://auth.example.com", "MAIL_FROM": "Twinauth <no-reply@auth.example.com>"}
    for name, value in _in_production(service).items():
        default = re.sub(r"\$\{(\w+):[^}]*\}", lambda found: said[found[1]], value)
        monkeypatch.setenv(name, re.sub("/run/(twinauth|secrets)", str(tmp_path), default))
    settings = load_settings()
    assert settings.is_production
    assert [danger.name for danger in settings.allowed_dangers] == ["clear-database"]
    sent_by = settings.mail.smtp_url
    assert settings.mail.relay is bool(sent_by) is (service != "migrate")
    if sent_by:
        assert settings.mail.mail_from == said["MAIL_FROM"]
        assert "mail.example.com" in sent_by.get_secret_value()
        assert (settings.http.docs, settings.http.served_by) == (False, False)


def test_what_the_guide_writes_into_env_is_asked_for_by_the_files_that_it_names() -> None:
    """And by nothing else: a process that starts beside it reads `.env` too, and refuses settings it does not know."""
    said: dict[str, str | None] = {}
    for block in blocks((ROOT / "docs" / "guides" / "stack.md").read_text(), "ini"):
        said |= dotenv_values(stream=StringIO(block))
    files = (said.pop("COMPOSE_FILE") or "").split(":")
    overlays = [f"deploy/compose/{name}.yml" for name in ("tls", "production", "database")]
    assert files == ["docker-compose.yml", *overlays]
    asked = {name for file in files for name in re.findall(r"\$\{(\w+):", (ROOT / file).read_text())}
    assert said.keys() <= asked
    assert not [name for name in asked if name.startswith("AUTH_")]


def test_nobody_waits_for_the_catcher_of_mail_in_production() -> None:
    assert PRODUCTION["services"]["mailpit"] == {"profiles": ["catcher"]}
    for door in ("api-fastapi", "api-flask"):
        assert PRODUCTION["services"][door]["depends_on"]["mailpit"]["required"] is False


def test_what_serves_is_watched_and_waits_for_what_it_needs() -> None:
    for name in ("proxy", "postgres"):
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD", name
    for service in APIS.values():
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert SERVICES["migrate"]["depends_on"]["role"]["condition"] == "service_completed_successfully"
    assert SERVICES["role"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert SERVICES["role"]["depends_on"]["secrets"]["condition"] == "service_completed_successfully"


# The images


def test_the_dockerfiles_pass_hadolint() -> None:
    files = [*(str(ROOT / f"Dockerfile.{name}") for name in FRAMEWORKS), str(FOLDER / "Dockerfile")]
    # DL3008: binutils of whatever release the base has; it strips, and stays in the first stage.
    done = subprocess.run(
        [_tool("hadolint"), "--ignore", "DL3008", *files], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_image_runs_as_nobody_in_particular_in_exec_form(name: str) -> None:
    _, final = DOCKERFILES[name].split("\n\n\nFROM ")
    assert re.findall(r"^USER (.*)$", final, re.MULTILINE) == ["10001:10001"]
    for instruction in ("ENTRYPOINT", "CMD"):
        (command,) = re.findall(rf"^{instruction} (.*)$", final, re.MULTILINE)
        assert isinstance(json.loads(command), list), "a shell would not pass the signal on"
    assert "HEALTHCHECK" in final
    assert f'"--framework", "{name}"' in final
    assert not re.search(r"^(RUN|ADD|ARG) ", final, re.MULTILINE), "nothing is installed in the image that runs"


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_image_is_of_production_by_itself(name: str) -> None:
    _, final = DOCKERFILES[name].split("\n\n\nFROM ")
    assert re.findall(r"^ENV (AUTH_\S+)$", final, re.MULTILINE) == ["AUTH_ENV=production"]


def test_the_images_differ_in_their_door_alone() -> None:
    fastapi, flask = (re.sub(r"COPY api_\w+ api_\w+\n", "", DOCKERFILES[name]) for name in FRAMEWORKS)
    assert fastapi.replace("FastAPI", "Flask").replace("fastapi", "flask").replace("uvicorn", "gunicorn") == flask


def _locked(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.findall(r"^([a-z0-9-]+)==(\S+).*?(?=^[a-z0-9-]+==|\Z)", text, re.MULTILINE | re.DOTALL)
    assert text.count("--hash=sha256:") >= len(blocks)
    return dict(blocks)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_image_has_what_was_tested_and_nothing_of_the_other_door(name: str) -> None:
    tested, image = _locked("serve"), _locked(f"image-{name}") | _locked("image-docs")
    assert image.items() <= tested.items()
    others = {"fastapi": {"flask", "werkzeug", "gunicorn"}, "flask": {"fastapi", "starlette", "uvicorn", "uvloop"}}
    assert not others[name] & image.keys()
    assert name in image


def test_nothing_but_sources_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    packages = {"core", "api_fastapi", "api_flask", "servers", "cli", "migrations", "requirements", "deploy/image"}
    assert allowed == packages | {"pyproject.toml", "README.md", "LICENSE"}


# The secrets


def _make_secrets(service: Path, role: Path, *arguments: str) -> dict[str, str]:
    """What is in both folders then, by the name of its folder and its own."""
    done = subprocess.run(
        ["/bin/sh", str(FOLDER / "make-secrets"), str(service), str(role), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = [path for folder in (service, role) for path in folder.iterdir() if path.is_file()]
    return {f"{path.parent.name}/{path.name}": path.read_text() for path in files}


SECRETS = {"service/secret_key", "service/old_secret_keys", "service/database_url", "role/password"}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    made, again, other = (_make_secrets(tmp_path / name / "service", tmp_path / name / "role") for name in "aab")
    assert made.keys() == SECRETS
    assert made["service/old_secret_keys"] == ""
    assert all(re.fullmatch(r"[0-9a-f]{64}", made[name]) for name in ("service/secret_key", "role/password"))
    assert made["service/secret_key"] != made["role/password"]
    assert again == made
    assert other["service/secret_key"] != made["service/secret_key"]


def test_the_database_may_be_elsewhere_and_a_secret_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    service, role = tmp_path / "service", tmp_path / "role"
    password = _make_secrets(service, role)["role/password"]
    (service / "secret_key").write_text("")
    again = _make_secrets(service, role, "db.example.com")
    assert again["service/database_url"] == f"postgresql://twinauth:{password}@db.example.com:5432/twinauth"
    assert len(again["service/secret_key"]) == 64


def test_a_password_beside_the_key_moves_to_who_needs_it(tmp_path: Path) -> None:
    """Where the stacks of before had it. It stays the same: the doors of before go on with it meanwhile."""
    service = tmp_path / "service"
    service.mkdir()
    for name, value in {"secret_key": "k" * 64, "postgres_password": "p" * 64}.items():
        (service / name).write_text(value)
        (service / name).chmod(0o444)
    made = _make_secrets(service, tmp_path / "role")
    assert made.keys() == SECRETS
    assert (made["service/secret_key"], made["role/password"]) == ("k" * 64, "p" * 64)
    assert f":{'p' * 64}@" in made["service/database_url"]


# The proxy


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    """The folder of the proxy as its container has it, where this machine may write."""
    folder = tmp_path / "proxy"
    shutil.copytree(PROXY, folder)
    for path in folder.iterdir():
        text = path.read_text().replace("/tmp/", f"{tmp_path}/").replace("/run/tls", str(tmp_path))
        path.write_text(text.replace("/etc/twinauth", str(folder)))
    (tmp_path / "tls.conf").write_text(f"include {folder}/tls.conf;")
    return folder


def _split(proxy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(proxy / "split"), *arguments], capture_output=True, check=False, text=True, timeout=30
    )


@pytest.fixture
def nginx(proxy: Path, tmp_path: Path) -> list[str]:
    """The proxy's command line, with a certificate for its TLS and in words that the release which is here knows."""
    nginx = str(program("nginx", package="nginx-light"))
    made = certificate(tmp_path)
    made.file.rename(tmp_path / "fullchain.pem")
    made.key.rename(tmp_path / "privkey.pem")
    # Older releases say `http2` as a parameter of `listen`.
    tls = proxy / "tls.conf"
    version = subprocess.run([nginx, "-v"], capture_output=True, check=True, text=True, timeout=10).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)", version)
    assert found
    if (int(found[1]), int(found[2])) < (1, 25):
        tls.write_text(tls.read_text().replace("8443 ssl;", "8443 ssl http2;").replace("  http2 on;\n", ""))
    return [nginx, "-c", str(proxy / "nginx.conf")]


@pytest.mark.parametrize("percent", ["0", "1", "50", "99", "100"])
def test_nginx_takes_its_configuration_at_every_share(nginx: list[str], proxy: Path, percent: str) -> None:
    assert _split(proxy, percent).returncode == 0
    done = subprocess.run([*nginx, "-t"], capture_output=True, check=False, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_nginx_may_open_as_many_files_as_it_takes_connections(nginx: list[str], proxy: Path) -> None:
    """Also where an engine gives the 1024 that are usual elsewhere; nginx warns where it may not."""
    assert _split(proxy, "50").returncode == 0
    line = ["/bin/sh", "-c", 'ulimit -S -n 1024 && exec "$@"', "sh", *nginx, "-t"]
    done = subprocess.run(line, capture_output=True, check=False, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "exceed open file resource limit" not in done.stderr


@dataclass(frozen=True)
class Listening:
    """The proxy, alone: behind it is no door."""

    port: int
    tls_port: int
    trusted: Path
    said: Path

    def connect(self, scheme: str) -> socket.socket:
        if scheme == "http":
            return socket.create_connection((HOST, self.port), 10)
        context = ssl.create_default_context(cafile=self.trusted)
        return context.wrap_socket(socket.create_connection((HOST, self.tls_port), 10), server_hostname=HOST)

    def answer(self, connection: socket.socket, request: bytes) -> Answer:
        with connection:
            connection.sendall(request)
            return parsed(b"".join(iter(partial(connection.recv, 65536), b"")))


@pytest.fixture
def listening(nginx: list[str], proxy: Path, tmp_path: Path) -> Iterator[Listening]:
    found = Listening(free_port(), free_port(), tmp_path / "fullchain.pem", tmp_path / "said")
    for path, there, here in (
        (proxy / "nginx.conf", "8080", found.port),
        (proxy / "tls.conf", "8443", found.tls_port),
    ):
        path.write_text(path.read_text().replace(f"listen {there}", f"listen {HOST}:{here}"))
    assert _split(proxy, "50").returncode == 0
    with found.said.open("wb") as said:
        process = subprocess.Popen(nginx, stdout=said, stderr=said)
    try:
        assert eventually(lambda: listens(found.port) and listens(found.tls_port), 20), found.said.read_text()
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def door(proxy: Path) -> Iterator[socket.socket]:
    """A door to which the proxy sends everything; to be asked for before the proxy listens."""
    with socket.create_server((HOST, 0)) as waiting:
        waiting.settimeout(10)
        server = proxy / "server.conf"
        text = server.read_text()
        assert "http://$door:8000" in text
        server.write_text(text.replace("http://$door:8000", f"http://{HOST}:{waiting.getsockname()[1]}"))
        yield waiting


def test_the_doors_are_told_the_address_that_the_proxy_sees_and_no_other(
    door: socket.socket, listening: Listening
) -> None:
    claims = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: ftp\r\nForwarded: for=192.0.2.7\r\n"
    with listening.connect("http") as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: auth.example.com\r\n" + claims + b"\r\n")
        with door.accept()[0] as passed_on:
            head = passed_on.recv(65536).decode().split("\r\n\r\n")[0]
            passed_on.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 204 ")
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert fields == {"Host": "auth.example.com", "X-Forwarded-For": HOST}


AT_ONCE = 200  # requests of one client


def test_a_client_has_so_many_requests_at_once_and_the_next_is_refused_while_others_are_served(
    door: socket.socket, listening: Listening
) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with ExitStack() as held:
        for _ in range(AT_ONCE):
            held.enter_context(listening.connect("http")).sendall(request)
            passed_on = held.enter_context(door.accept()[0])
        refused = listening.answer(listening.connect("http"), request)
        assert (refused.status, refused.json["status"]) == (503, 503)
        assert refused.header("Retry-After")
        other = socket.create_connection((HOST, listening.port), 10, source_address=("127.0.0.2", 0))
        held.enter_context(other).sendall(request)
        held.enter_context(door.accept()[0]).recv(65536)
        # What has been answered counts no more.
        passed_on.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        passed_on.close()
        assert eventually(lambda: _is_passed_on(door, listening, request, held), 10)


def _is_passed_on(door: socket.socket, listening: Listening, request: bytes, held: ExitStack) -> bool:
    client = held.enter_context(listening.connect("http"))
    client.sendall(request)
    found, _, _ = select.select([client, door], [], [], 5)
    return door in found


def test_silent_connections_of_one_client_keep_no_other_from_the_proxy(
    door: socket.socket, listening: Listening
) -> None:
    """They are in no request, which is what nginx counts; it has room, and gives up the silent before it has none."""
    with room_for(3000), ExitStack() as silent:
        for _ in range(1500):
            silent.enter_context(listening.connect("http"))
        client = silent.enter_context(socket.create_connection((HOST, listening.port), 5))
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        silent.enter_context(door.accept()[0]).sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxy_refuses_with_the_header_fields_of_the_doors(listening: Listening, scheme: str) -> None:
    door = Edge(make_settings(http=HttpSettings(public_url=f"{scheme}://{HOST}")), CONTRACT, door="fastapi")
    expected = parsed(door.unreadable(MalformedRequest(), HOST))
    answer = listening.answer(listening.connect(scheme), b"GET /healthz HTTP/1.1\r\n\r\n")
    assert comparable(answer) == comparable(expected)
    assert bool(answer.header("Strict-Transport-Security")) is (scheme == "https")


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 503), ("/%00", 400)])
def test_what_the_proxy_refuses_is_found_in_its_log(listening: Listening, path: str, status: int) -> None:
    """By the id that the client was told, not by one that it claims."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Request-ID: theirs\r\nConnection: close\r\n\r\n"
    answer = listening.answer(listening.connect("http"), request.encode())
    told = answer.json["request_id"]
    assert (answer.status, answer.header("X-Request-ID")) == (status, told)
    assert eventually(lambda: f" {status} " in listening.said.read_text(), 5)
    (line,) = [
        line for line in listening.said.read_text().splitlines() if f" {status} " in line and line.endswith(told)
    ]
    assert "theirs" not in line


def test_who_forgets_tls_is_refused_in_the_same_words(listening: Listening) -> None:
    plainly = socket.create_connection((HOST, listening.tls_port), 10)
    answer = listening.answer(plainly, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (answer.status, answer.json["code"]) == (400, "malformed_request")


@pytest.mark.parametrize("wrong", ["101", "-1", "x", "", "05", "5.5", "1000", "50;"])
def test_a_share_that_is_none_is_refused_and_changes_nothing(proxy: Path, tmp_path: Path, wrong: str) -> None:
    assert _split(proxy, "30").returncode == 0
    before = (tmp_path / "split.conf").read_text()
    done = _split(proxy, wrong)
    assert done.returncode == 2
    assert "from 0 to 100" in done.stderr
    assert (tmp_path / "split.conf").read_text() == before


REFUSALS: dict[str, AuthError] = {
    "malformed_request": MalformedRequest(),
    "not_found": NotFound(),
    "method_not_allowed": MethodNotAllowed(()),
    "request_timeout": RequestTimeout(),
    "body_too_large": BodyTooLarge(),
    "target_too_long": TargetTooLong(),
    "headers_too_large": HeadersTooLarge(),
}


def test_the_proxy_refuses_in_the_words_of_the_contract() -> None:
    found = re.findall(
        r"^location = /-/(\w+) \{\n  include \S+;\n(?:  add_header .*\n)?  return (\d+) '(.*)';\n\}",
        (PROXY / "refusals.conf").read_text(),
        re.MULTILINE,
    )
    said = {name: (int(status), body) for name, status, body in found}
    status, body = said.pop("unavailable")
    assert (status, json.loads(body)["status"]) == (503, 503)
    expected = {name: PROBLEMS.answer(error, "$request_id") for name, error in REFUSALS.items()}
    assert said == {name: (answer.status, answer.body.decode()) for name, answer in expected.items()}


def test_without_a_number_the_share_is_the_one_that_is_set(proxy: Path, tmp_path: Path) -> None:
    done = subprocess.run(["/bin/sh", str(proxy / "split")], check=False, env={"FLASK_PERCENT": "30"}, timeout=30)
    assert done.returncode == 0
    assert "  30% api-flask;" in (tmp_path / "split.conf").read_text()
    assert _split(proxy).returncode == 2


def test_scripts_can_be_run() -> None:
    for path in (
        *(FOLDER / f"make-{name}" for name in MADE),
        *(PROXY / name for name in ("split", "start", "healthy")),
    ):
        assert path.stat().st_mode & stat.S_IXUSR, path
        assert path.read_text().startswith("#!/bin/sh\n")
