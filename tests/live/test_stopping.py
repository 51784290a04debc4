"""How a process ends: it says so first, finishes what it has, and leaves with 0."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cli.stopping import FAREWELL, HASTE, ONE_SIGNAL

from tests.conftest import SECRET
from tests.live.conftest import Figures, hanging
from tests.servers import CHEAP, Server, eventually, serving

DRAIN = 2
CALLERS = 8


class Balancer:
    """Sends requests as long as the process says that it is ready, as a load balancer does."""

    def __init__(self, server: Server, token: str) -> None:
        self._server = server
        self._token = token
        self.is_open = threading.Event()
        self.is_open.set()
        self.statuses: list[int] = []

    def watch(self) -> int:
        """Look at the readiness until it turns; how it was said."""
        status = 200
        try:
            while status == 200 and self.is_open.is_set():
                time.sleep(0.05)
                status = self._server.api.get("/readyz").status
        finally:
            self.close()
        return status

    def send(self) -> None:
        """One request after the other."""
        while self.is_open.is_set():
            self.statuses.append(self._server.api.whoami(self._token).status)

    def close(self) -> None:
        """Send no more."""
        self.is_open.clear()


def test_readiness_turns_first_and_no_request_is_dropped(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    with serving(tmp_path, framework, AUTH_DRAIN=str(DRAIN), **CHEAP) as (server,):
        token = server.api.signed_in(email)["access_token"]
        balancer = Balancer(server, token)
        with ThreadPoolExecutor(CALLERS + 1) as pool, closing(balancer):  # or a failure would wait for them for ever
            watching = pool.submit(balancer.watch)
            senders = [pool.submit(balancer.send) for _ in range(CALLERS)]
            assert eventually(lambda: len(balancer.statuses) > 50, 30)
            server.process.terminate()
            told = time.monotonic()
            assert watching.result(30) == 503
            turned = time.monotonic() - told
            for sender in senders:
                sender.result(30)  # raises what a request met instead of an answer
            assert server.api.whoami(token).status == 200, "who has not noticed is served all the same"
            assert server.api.get("/healthz").status == 200
        assert server.process.wait(DRAIN + 10) == 0
        ended = time.monotonic() - told
        assert server.process.leaves_nothing_behind()
    figures(
        f"{framework}: {len(balancer.statuses)} requests, none dropped; not ready after {turned * 1000:.0f} ms, "
        f"gone after {ended:.1f} s"
    )
    assert set(balancer.statuses) == {200}
    assert ended > DRAIN / 2


def test_while_it_drains_the_last_answer_on_a_connection_says_that_it_ends(framework: str, tmp_path: Path) -> None:
    """Also of requests that were sent in one go: those behind the first have arrived, and are answered."""
    with serving(tmp_path, framework, AUTH_DRAIN=str(DRAIN), **CHEAP) as (server,):
        server.process.terminate()
        assert eventually(lambda: server.api.get("/readyz").status == 503, 30)
        received = server.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3).lower()
        server.process.kill()
    assert received.count(b"http/1.1 200") == 3
    assert received.count(b"connection: close") == 1


@pytest.mark.parametrize(("framework", "workers"), [("fastapi", 1), ("fastapi", 2), ("flask", 1)])
def test_what_has_become_of_the_settings_since_the_start_is_nothing_to_a_drain(
    framework: str, workers: int, tmp_path: Path
) -> None:
    """Who deploys puts the next release's settings in place, and then stops this one."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    settings = {"AUTH_DRAIN": "1", "AUTH_SECRET_KEY_FILE": str(secret), **CHEAP}
    with serving(tmp_path, framework, options=["--workers", str(workers)], **settings) as (server,):
        assert eventually(lambda: framework == "flask" or has_started(server, workers), 30)
        (tmp_path / ".env").write_text("AUTH_OF_THE_NEXT_RELEASE=1")
        secret.unlink()
        server.process.terminate()
        told = time.monotonic()
        assert eventually(lambda: server.api.get("/readyz").status == 503, 30)
        assert server.process.wait() == 0
        assert time.monotonic() - told > 1
        assert server.process.leaves_nothing_behind()


def has_started(server: Server, workers: int) -> bool:
    """Whether so many workers of uvicorn have read their settings."""
    return server.process.printed().count("Application startup complete") == workers


def test_a_second_signal_ends_the_drain(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, AUTH_DRAIN="60", **CHEAP) as (server,):
        server.process.terminate()
        assert eventually(lambda: server.api.get("/readyz").status == 503, 30)
        time.sleep(ONE_SIGNAL)
        server.process.terminate()
        assert server.process.wait() == 0


def test_a_second_signal_does_not_wait_for_a_request_that_hangs(framework: str, tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{file}", "AUTH_DATABASE_TIMEOUT": "60", **CHEAP}
    with serving(tmp_path, framework, **settings) as (server,):
        with hanging(file, server.port):
            server.process.terminate()
            time.sleep(ONE_SIGNAL + 0.5)
            assert server.process.popen.poll() is None, "a first signal waits"
            server.process.terminate()
            told = time.monotonic()
            assert server.process.wait() == 0
            assert time.monotonic() - told < HASTE + 2
        assert server.process.leaves_nothing_behind()


def test_who_waits_for_news_is_answered_when_the_process_stops(framework: str, email: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, **CHEAP) as (server,), ThreadPoolExecutor(1) as pool:
        server.api.signed_in(email)
        cursor = server.api.get("/v1/revocations").header("ETag") or ""
        waiting = pool.submit(server.api.get, f"/v1/revocations?wait=25&since={cursor.strip(chr(34))}")
        time.sleep(0.5)  # until it waits: nothing shows that from outside
        server.process.terminate()
        started = time.monotonic()
        assert waiting.result(20).status == 200
        assert server.process.wait() == 0
        assert time.monotonic() - started < 10


class Caller:
    """Sends one request after the other until nobody listens any more, and takes nothing but an answer."""

    def __init__(self, server: Server, token: str, *, keeps: bool, pause: float) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        self._token = token
        self._keeps = keeps
        self._pause = pause
        self.statuses: list[int] = []

    def send(self) -> None:
        """Send until the connection is refused; what else goes wrong is raised."""
        with closing(self._connection), suppress(ConnectionRefusedError):
            while True:
                self.statuses.append(self._one())
                time.sleep(self._pause)

    def _one(self) -> int:
        self._connection.request("GET", "/v1/whoami", headers={"Authorization": f"Bearer {self._token}"})
        with self._connection.getresponse() as response:
            response.read()
        if not self._keeps:
            self._connection.close()
        return response.status


def _to_the_parent(server: Server) -> None:
    server.process.terminate()


def _to_every_process(server: Server) -> None:
    """As systemd does; the parent passes its own on as well, and to the workers the two are one."""
    os.killpg(server.process.popen.pid, signal.SIGTERM)


@pytest.mark.parametrize(
    ("workers", "drain", "tell"), [(1, 0, _to_the_parent), (2, 0, _to_the_parent), (2, DRAIN, _to_every_process)]
)
def test_nobody_is_dropped_when_the_listener_closes(
    framework: str,
    workers: int,
    drain: int,
    tell: Callable[[Server], None],
    email: str,
    tmp_path: Path,
    figures: Figures,
) -> None:
    """Who asks meanwhile is answered or refused: on kept connections, also those idle for moments, and on new ones."""
    with (
        serving(tmp_path, framework, options=["--workers", str(workers)], AUTH_DRAIN=str(drain), **CHEAP) as (server,),
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        token = server.api.signed_in(email)["access_token"]
        kinds = [(False, 0.0), (True, 0.0), (True, FAREWELL / 4), (False, 0.0)]
        callers = [Caller(server, token, keeps=keeps, pause=pause) for keeps, pause in kinds * (CALLERS // len(kinds))]
        sending = [pool.submit(caller.send) for caller in callers]
        assert eventually(lambda: min(len(caller.statuses) for caller in callers) >= 2, 30)
        tell(server)
        told = time.monotonic()
        for sender in sending:
            sender.result(30)
        refused = time.monotonic() - told
        assert server.process.wait() == 0
        assert server.process.leaves_nothing_behind()
    statuses = [status for caller in callers for status in caller.statuses]
    figures(f"{framework}: {len(statuses)} requests, none dropped; the last one refused after {refused:.2f} s")
    assert set(statuses) == {200}
    assert refused > drain


def test_a_connection_that_is_idle_ends_soon(framework: str, tmp_path: Path) -> None:
    """One that was used, and one that was not."""
    with serving(tmp_path, framework, **CHEAP) as (server,), server.connect() as used, server.connect() as unused:
        used.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        while not used.recv(65536).endswith(b"}"):
            pass
        server.process.terminate()
        assert used.recv(1) == b""
        assert unused.recv(1) == b""
        assert server.process.wait(FAREWELL + 2) == 0
