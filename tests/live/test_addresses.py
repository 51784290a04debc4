"""Where `twinauth serve` listens: a Unix socket, the port of a platform, both families of addresses, below a path."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import EMAIL, PASSWORD
from tests.support.postgres import free_port
from tests.support.servers import (
    CHEAP,
    FRAMEWORKS,
    HOST,
    START_SECONDS,
    Process,
    Server,
    eventually,
    listens,
    run_command,
    running,
)

CREDENTIALS = {"email": EMAIL, "password": PASSWORD}


class UnixConnection(http.client.HTTPConnection):
    """A connection of a proxy to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


def asked(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Ask as JSON, and read JSON."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None if body is None else json.dumps(body)
    with closing(connection):
        connection.request(method, path, content, {"Content-Type": "application/json"} | given)
        answer = connection.getresponse()
        read = answer.read()
    assert answer.status < 300, read
    return json.loads(read)


def ip_of_session(connection: http.client.HTTPConnection, **headers: str) -> str:
    """The address that a new session remembers."""
    asked(connection, "POST", "/v1/signup", CREDENTIALS)
    token = asked(connection, "POST", "/v1/login", CREDENTIALS, **headers)["access_token"]
    (session,) = asked(connection, "GET", "/v1/sessions", Authorization=f"Bearer {token}")["items"]
    ip: str = session["ip"]
    return ip


def listens_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return path.is_socket() and probe.connect_ex(str(path)) == 0


@contextmanager
def serving_at(path: Path, folder: Path, framework: str, *options: str) -> Iterator[Process]:
    with running(folder, "serve", "--framework", framework, "--uds", str(path), *options, **CHEAP) as process:
        assert eventually(partial(listens_at, path), START_SECONDS), process.printed()
        yield process


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_unix_socket_is_for_a_proxy_and_ends_with_its_process(framework: str, workers: str, tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with serving_at(path, tmp_path, framework, "--workers", workers) as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ip_of_session(UnixConnection(path), X_Forwarded_For="6.6.6.6, 203.0.113.7") == "203.0.113.7"
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(path))
            raw.sendall(b"canary\r\n\r\n")
            assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")
        taken = run_command(tmp_path, "serve", "--framework", framework, "--uds", str(path), **CHEAP)
        assert (taken.returncode, "is taken" in taken.stderr) == (1, True), taken.stderr
        process.terminate()
        assert process.wait() == 0, process.printed()
        assert not path.exists()
        assert "Traceback" not in process.printed()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_a_killed_process_has_left_is_replaced(framework: str, tmp_path: Path) -> None:
    path = tmp_path / "door.sock"
    with serving_at(path, tmp_path, framework) as process:
        process.kill()
    assert eventually(lambda: not listens_at(path), START_SECONDS), "a worker notices that its parent has ended"
    assert path.is_socket()
    with serving_at(path, tmp_path, framework):
        assert asked(UnixConnection(path), "GET", "/healthz") == {"status": "ok"}


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("precious")
    done = run_command(tmp_path, "serve", "--framework", "flask", "--uds", str(path))
    assert (done.returncode, done.stderr.startswith("Error: cannot listen on")) == (1, True), done.stderr
    assert path.read_text() == "precious"


@pytest.mark.parametrize("options", [("--framework", "both"), ("--reload",), ("--port", "8000")])
def test_a_unix_socket_is_for_one_door(options: tuple[str, ...], tmp_path: Path) -> None:
    done = run_command(tmp_path, "serve", "--framework", "flask", "--uds", str(tmp_path / "door.sock"), *options)
    assert (done.returncode, "--uds goes with" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("option", [None, "--port", "--{}-port"])
def test_the_port_of_a_platform_is_served_unless_an_option_says_another(
    framework: str, option: str | None, tmp_path: Path
) -> None:
    given, other = free_port(), free_port()
    options = [option.format(framework), str(other)] if option else []
    with running(tmp_path, "serve", "--framework", framework, *options, PORT=str(given), **CHEAP) as process:
        server = Server(framework, other if option else given, process)
        assert eventually(server.is_ready, START_SECONDS), process.printed()
        assert listens(given) is (option is None)


@pytest.mark.parametrize("text", ["0", "65536", "tcp://10.0.0.1:80", "-1", "8000 "])
def test_a_port_of_a_platform_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    done = run_command(tmp_path, "serve", "--framework", "flask", PORT=text)
    assert done.returncode == 1
    assert done.stderr == "Error: the variable PORT is no port; unset it, or give --port\n"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_colons_are_both_families_of_addresses(framework: str, tmp_path: Path) -> None:
    port = free_port()
    options = ("--framework", framework, "--host", "::", "--port", str(port))
    with running(tmp_path, "serve", *options, **CHEAP) as process:
        assert eventually(Server(framework, port, process).is_ready, START_SECONDS), process.printed()
        assert ip_of_session(http.client.HTTPConnection(HOST, port, timeout=30)) == HOST
        assert asked(http.client.HTTPConnection("::1", port, timeout=30), "GET", "/healthz") == {"status": "ok"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_root_path_is_the_same_at_both_doors(framework: str, tmp_path: Path) -> None:
    port = free_port()
    options = ("--framework", framework, "--port", str(port), "--root-path", "/auth")
    with running(tmp_path, "serve", *options, **CHEAP) as process:
        server = Server(framework, port, process)
        assert eventually(server.is_ready, START_SECONDS), process.printed()
        for prefix in ("", "/auth"):
            assert server.api.send("OPTIONS", f"{prefix}/v1/login").header("Allow") == "OPTIONS, POST"
            assert server.api.get(f"{prefix}/nothing").json["type"] == "/auth/problems/not_found"
        assert server.api.get("/auth/v1/whoami").status == 401
        # What no application sees is answered alike.
        assert b'"/auth/problems/malformed_request"' in server.raw(b"canary\r\n\r\n")


def test_a_root_path_that_is_none_is_told(tmp_path: Path) -> None:
    done = run_command(tmp_path, "serve", "--root-path", "auth?x")
    assert (done.returncode, "AUTH_ROOT_PATH: must be a path such as /auth" in done.stderr) == (1, True), done.stderr
