"""Clients that send slowly, never end, or say nothing: cut off in time, and nobody else waits for them."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.http.edge.limits import MAX_SECONDS
from tests.support.live import Figures
from tests.support.servers import CHEAP, Server, eventually, parsed, serving

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
ASSET = "/assets/swagger-ui-bundle.js"  # the largest thing there is
ASKING_FOR_ASSET = f"GET {ASSET} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
ENDING = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
DRIPPING = "a byte of an asset now and then"
# What each kind of client asks for that takes nothing, or next to it, and how many there are: more than threads.
UNTAKEN = {
    "an asset": (60, ASKING_FOR_ASSET),
    "many icons in one go": (40, b"GET /assets/favicon.png HTTP/1.1\r\nHost: a\r\n\r\n" * 100),
    "an asset and the end": (5, ASKING_FOR_ASSET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
    DRIPPING: (5, ASKING_FOR_ASSET),
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


class Untaking:
    """A client that asks and takes nothing of its answers, or a byte now and then."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = name
        self.socket = narrow(server, 2048)
        self.socket.setblocking(False)
        self.socket.send(UNTAKEN[name][1])
        self.ended_after: float | None = None
        self._poll = select.poll()
        self._poll.register(self.socket, 0)  # that it was reset is told unasked, and without reading
        self._started = time.monotonic()

    def go_on(self) -> None:
        """See whether it is over, and take a little where its kind does."""
        if self.ended_after is not None:
            return
        if self._poll.poll(0):
            self.ended_after = time.monotonic() - self._started
        elif self.name == DRIPPING:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self.socket.recv(1)


class Steady:
    """A client that takes its answers slowly: an asset in so many seconds."""

    def __init__(self, server: Server, request: bytes, seconds: float) -> None:
        self.asset = server.api.get(ASSET).body
        self.socket = narrow(server, 32768)
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.received = b""
        self.has_ended = False
        self._rate = len(self.asset) / seconds
        self._started = time.monotonic()

    def go_on(self) -> bool:
        """Take what there is, but no more than its rate allows; whether the server has sent all that it sends."""
        allowed = int((time.monotonic() - self._started) * self._rate) - len(self.received)
        with contextlib.suppress(BlockingIOError):
            while allowed > 0 and not self.has_ended:
                part = self.socket.recv(allowed)
                self.received += part
                self.has_ended = not part
                allowed -= len(part)
        return self.has_ended

    def taken_behind_the_asset(self) -> bytes:
        """What came behind the answer that was to be every byte of the asset."""
        head, _, rest = self.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert rest[: len(self.asset)] == self.asset
        return rest[len(self.asset) :]


def narrow(server: Server, size: int) -> socket.socket:
    """A connection of which the kernel keeps little, as over a network; on this machine alone it takes megabytes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.connect((server.host, server.port))
    return connection


@contextmanager
def taking_nothing(server: Server) -> Iterator[list[Untaking]]:
    """All the kinds of clients that do not take their answers."""
    with ExitStack() as stack:
        clients: list[Untaking] = []
        for name, (many, _) in UNTAKEN.items():
            for _ in range(many):
                clients.append(Untaking(server, name))
                stack.callback(clients[-1].socket.close)
                time.sleep(0.01)  # it is not the work of answering them that is measured
        yield clients


def test_clients_that_take_no_answer_are_cut_off_in_time_and_hold_up_nobody(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    """While one that takes its answer slowly, but in its time, gets every byte of it."""
    with serving(tmp_path, framework, **CHEAP) as (server,):
        token = server.api.signed_in(email)["access_token"]
        steady = Steady(server, ASKING_FOR_ASSET + ENDING, MAX_SECONDS / 2)
        with steady.socket, asking(server, token) as taken, taking_nothing(server) as clients:
            deadline = time.monotonic() + MAX_SECONDS + MARGIN
            while time.monotonic() < deadline and any(client.ended_after is None for client in clients):
                steady.go_on()
                for client in clients:
                    client.go_on()
                time.sleep(0.05)
    figures(
        f"{framework}: {len(clients)} clients that take no answer, the last one gone after "
        f"{max(client.ended_after or 99 for client in clients):.1f} s; {len(taken)} answers to others, "
        f"the slowest {max(taken) * 1000:.0f} ms"
    )
    assert Counter(client.name for client in clients if client.ended_after is None) == {}
    assert min(client.ended_after or 0 for client in clients) > MAX_SECONDS - 1, "they had their time"
    assert parsed(steady.taken_behind_the_asset()).status == 200
    assert steady.has_ended
    assert len(taken) > 20
    assert max(taken) < 1


def test_a_process_that_stops_waits_for_who_takes_an_answer(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, **CHEAP) as (server,):
        steady = Steady(server, ASKING_FOR_ASSET, 3)
        with steady.socket:
            while not steady.received:
                steady.go_on()
            server.process.terminate()
            assert eventually(steady.go_on, MAX_SECONDS)
        assert server.process.wait() == 0
    assert steady.taken_behind_the_asset() == b""


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
