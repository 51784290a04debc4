"""Clients that are silent, slow or take nothing, by the sixties, before the proxies that the doors are made for.

nginx itself, with the configuration of the stack, and with what the manifests' Ingress asks of its controller.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.live import Figures
from tests.support.postgres import free_port
from tests.support.servers import CHEAP, FRAMEWORKS, HOST, ROOT, Process, Server, eventually, serving

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
INGRESS = ROOT / "deploy" / "kubernetes" / "components" / "ingress" / "ingress.yaml"
PREFIX = "nginx.ingress.kubernetes.io/"

pytestmark = pytest.mark.skipif(NGINX is None, reason="NO nginx: apt-get install nginx-light")

EACH = 60
CUT_OFF = 10 + 4.0  # seconds that the stack's proxy gives, and some for a busy machine
ASSET = b"GET /assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
LOGIN = b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
# What each kind of client sends at first, and what it goes on with.
KINDS = {
    "silent": (b"", b""),
    "half a head": (LOGIN + b"X-Slow: ", b""),
    "half a body": (LOGIN + b"Content-Length: 16000\r\n\r\n{", b""),
    "trickling": (LOGIN + b"Content-Length: 16000\r\n\r\n{", b" "),
    "taking no answer": (ASSET, b""),
}


def stack_configuration(folder: Path, doors: dict[str, int], port: int) -> Path:
    """The proxy's own files, where this machine may write, with the doors at their ports."""
    proxy = folder / "proxy"
    shutil.copytree(ROOT / "deploy" / "compose" / "proxy", proxy)
    for path in proxy.iterdir():
        text = path.read_text().replace("/tmp/", f"{folder}/").replace("/etc/twinauth", str(proxy))
        text = text.replace("listen 8080", f"listen {HOST}:{port}").replace("http://$door:8000", "http://$door")
        for name, number in doors.items():
            text = text.replace(f"api-{name}", f"{HOST}:{number}")
        path.write_text(text)
    (folder / "tls.conf").write_text("")
    subprocess.run(["/bin/sh", str(proxy / "split"), "50"], check=True, timeout=30)
    return proxy / "nginx.conf"


def ingress_configuration(folder: Path, doors: dict[str, int], port: int) -> Path:
    """What ingress-nginx makes of the annotations; without them it has these defaults, and buffers no answer."""
    asked = yaml.safe_load(INGRESS.read_text())["metadata"]["annotations"]
    given = {name.removeprefix(PREFIX): value for name, value in asked.items()}
    buffers = given.get("proxy-buffers-number", "4")
    lines = [
        "daemon off;",
        f"pid {folder}/nginx.pid;",
        "error_log stderr warn;",
        "worker_rlimit_nofile 8192;",
        "events { worker_connections 4096; }",
        "http {",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        "access_log off;",
        "limit_conn_zone $binary_remote_addr zone=clients:10m;",
        f"upstream doors {{ {' '.join(f'server {HOST}:{number};' for number in doors.values())} }}",
        f"server {{ listen {HOST}:{port};",
        f"client_max_body_size {given.get('proxy-body-size', '1m')};",
        f"limit_conn clients {given['limit-connections']};" if "limit-connections" in given else "",
        "location / {",
        f"proxy_request_buffering {given.get('proxy-request-buffering', 'on')};",
        f"proxy_buffering {given.get('proxy-buffering', 'off')};",
        f"proxy_buffers {buffers} {given.get('proxy-buffer-size', '4k')};",
        f"proxy_read_timeout {given.get('proxy-read-timeout', '60')}s;",
        "proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;",
        "proxy_pass http://doors; } } }",
    ]
    path = folder / "nginx.conf"
    path.write_text("\n".join(lines))
    return path


Configuration = Callable[[Path, dict[str, int], int], Path]


@contextmanager
def in_front_of(doors: tuple[Server, ...], folder: Path, write: Configuration) -> Iterator[Server]:
    """nginx, as a server of its own."""
    folder.mkdir()
    port, said = free_port(), folder / "said"
    path = write(folder, {door.framework: door.port for door in doors}, port)
    if os.geteuid() == 0:  # its workers would have no access to the folder of a test
        path.write_text("user root;\n" + path.read_text())
    with said.open("wb") as output:
        popen = subprocess.Popen([str(NGINX), "-c", str(path)], stdout=output, stderr=output)
    proxy = Server("nginx", port, Process(popen, said))
    try:
        assert eventually(proxy.is_ready, 20), said.read_text()
        yield proxy
    finally:
        popen.terminate()
        popen.wait(20)


class Stuck:
    """One such client, and what became of it."""

    def __init__(self, server: Server, kind: str) -> None:
        self.kind = kind
        first, self._more = KINDS[kind]
        self.socket = socket.socket()
        if kind == "taking no answer":  # of which the kernel keeps little, as over a network
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.socket.connect((server.host, server.port))
        self.socket.sendall(first)
        self.socket.setblocking(False)
        self.outcome = ""
        self._poll = select.poll()
        self._poll.register(self.socket, 0 if kind == "taking no answer" else select.POLLIN)

    def go_on(self) -> None:
        """Send a little more where its kind does, and see whether it is over."""
        if self._more and not self.outcome:
            with contextlib.suppress(OSError):
                self.socket.send(self._more)
        if not self.outcome and self._poll.poll(0):
            try:
                self.outcome = self.socket.recv(4096)[9:12].decode() or "closed"
            except OSError:
                self.outcome = "reset"


@contextmanager
def asking(server: Server, token: str) -> Iterator[list[float]]:
    """Somebody else who asks meanwhile, and the seconds of each answer."""
    taken: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.05):
            started = time.monotonic()
            assert server.api.get("/v1/whoami", token=token).status == 200
            taken.append(time.monotonic() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize(("write", "seconds"), [(stack_configuration, CUT_OFF), (ingress_configuration, 4.0)])
def test_sixty_stuck_clients_of_each_kind_hurt_nobody(
    write: Configuration, seconds: float, tmp_path: Path, figures: Figures
) -> None:
    settings = {"AUTH_TRUSTED_PROXIES": HOST, "AUTH_DATABASE_URL": f"sqlite:///{tmp_path / 'app.db'}", **CHEAP}
    with (
        serving(tmp_path, *FRAMEWORKS, **settings) as doors,
        in_front_of(doors, tmp_path / "front", write) as proxy,
        ExitStack() as stack,
    ):
        token = proxy.api.signed_in("ann@example.com")["access_token"]
        with asking(proxy, token) as taken:
            clients = [Stuck(proxy, kind) for _ in range(EACH) for kind in KINDS]
            for client in clients:
                stack.callback(client.socket.close)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for client in clients:
                    client.go_on()
                time.sleep(0.2)
    outcomes = Counter((client.kind, client.outcome) for client in clients)
    figures(
        f"{write.__name__}: {len(taken)} answers to others, the slowest {max(taken) * 1000:.0f} ms; {dict(outcomes)}"
    )
    assert len(taken) > 10
    assert max(taken) < 1
    if write is stack_configuration:
        still_there = {kind: outcomes[kind, ""] for kind in KINDS if outcomes[kind, ""]}
        assert still_there == {"trickling": EACH}, "which costs the proxy a connection, and nobody else anything"
