"""Clients that send slowly, never end, or say nothing: cut off in time, and nobody else waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.http.admission import MAX_SECONDS
from tests.live.conftest import Figures
from tests.servers import CHEAP, Server, serving

HEAD = b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
# What each kind of client sends first, and then a byte at a time.
SLOW = {
    "half a request line": (b"POST /v1/lo", b"g"),
    "half a head": (HEAD + b"X-Slow: ", b"a"),
    "half a body": (HEAD + b"Content-Length: 60000\r\n\r\n{", b" "),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{", b" "),
    "chunks without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a promise to go on": (HEAD + b"Expect: 100-continue\r\nContent-Length: 60000\r\n\r\n", b" "),
    "nothing": (b"", b""),
}
EACH = 20  # more of all kinds together than a server has threads
MARGIN = 4.0  # seconds, on a busy machine


class Slow:
    """One such client, and what became of it."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = name
        self._first, self._more = SLOW[name]
        self.socket = server.connect()
        self.socket.sendall(self._first)
        self.socket.setblocking(False)
        self.received = b""
        self.ended_after: float | None = None
        self._started = time.monotonic()

    def go_on(self) -> None:
        """Send a little more, and see whether it is over."""
        if self.ended_after is not None:
            return
        try:
            if self._more:
                self.socket.send(self._more)
            part = self.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            part = b""
        self.received += part
        if not part:
            self.ended_after = time.monotonic() - self._started

    @property
    def status(self) -> str:
        return self.received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")[9:12].decode() or "closed"


@contextmanager
def asking(server: Server, token: str) -> Iterator[list[float]]:
    """Somebody else who asks meanwhile, and the seconds of each answer."""
    taken: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.05):
            for path in ("/v1/whoami", "/healthz"):
                started = time.monotonic()
                assert server.api.get(path, token=token).status == 200
                taken.append(time.monotonic() - started)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield taken
    finally:
        is_over.set()
        thread.join()


def test_slow_clients_are_cut_off_in_time_and_hold_up_nobody(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    with serving(tmp_path, framework, **CHEAP) as (server,), ExitStack() as stack:
        token = server.api.signed_in(email)["access_token"]
        clients = [Slow(server, name) for name in SLOW for _ in range(EACH)]
        for client in clients:
            stack.callback(client.socket.close)
        deadline = time.monotonic() + MAX_SECONDS + MARGIN
        with asking(server, token) as taken:
            while time.monotonic() < deadline and any(client.ended_after is None for client in clients):
                for client in clients:
                    client.go_on()
                time.sleep(0.2)
    outcomes = Counter((client.name, client.status) for client in clients)
    figures(
        f"{framework}: {len(clients)} slow clients, the last one gone after "
        f"{max(client.ended_after or 99 for client in clients):.1f} s; {len(taken)} answers to others, "
        f"the slowest {max(taken) * 1000:.0f} ms"
    )
    assert [client.name for client in clients if client.ended_after is None] == []
    assert {status for _, status in outcomes} <= {"400", "408", "413", "closed"}
    assert outcomes["half a body", "408"] == outcomes["half a head", "408"] == outcomes["nothing", "closed"] == EACH
    assert len(taken) > 20
    assert max(taken) < 1


@pytest.mark.parametrize("name", ["half a body", "half a head"])
def test_who_is_a_little_slow_is_served(framework: str, tmp_path: Path, name: str) -> None:
    body = b'{"email": "ann@example.com", "password": "not the one"}'
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    cut = len(request) - 10 if name == "half a body" else 30
    with serving(tmp_path, framework, **CHEAP) as (server,), server.connect() as connection:
        connection.sendall(request[:cut])
        time.sleep(1)
        connection.sendall(request[cut:])
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    assert received.startswith(b"HTTP/1.1 401 ")


def test_a_client_that_takes_no_answer_holds_up_nobody(framework: str, email: str, tmp_path: Path) -> None:
    """The largest thing there is, asked for by many who read nothing of it."""
    asset = b"GET /assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
    with serving(tmp_path, framework, **CHEAP) as (server,), ExitStack() as stack:
        token = server.api.signed_in(email)["access_token"]
        for _ in range(60):
            connection = stack.enter_context(server.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(asset)
        started = time.monotonic()
        assert server.api.whoami(token).status == 200
        assert time.monotonic() - started < MAX_SECONDS + MARGIN


def test_clients_that_do_not_close_hold_up_nobody(framework: str, tmp_path: Path) -> None:
    """gunicorn's loop waits two seconds for each of them, and for nobody else meanwhile."""
    asking = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with serving(tmp_path, framework, **CHEAP) as (server,), ExitStack() as stack:
        for request in (asking, b"junk\r\n\r\n") * 10:
            connection = stack.enter_context(server.connect())
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 ")
            started = time.monotonic()
            assert server.api.get("/healthz").status == 200
            assert time.monotonic() - started < 1


def test_an_empty_line_keeps_no_connection(framework: str, tmp_path: Path) -> None:
    """Some clients send one behind a body; a request it is not, and so it is no reason to wait or to complain."""
    with serving(tmp_path, framework, **CHEAP) as (server,), server.connect() as connection:
        connection.settimeout(MAX_SECONDS + MARGIN)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 ") == 1
