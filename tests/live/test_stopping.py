"""How a process ends: it says so first, finishes what it has, and leaves with 0."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from lab.faults.processes import family_of
from servers.stopping import HURRY, LINGER, ONE_SIGNAL
from tests.support.api import PASSWORD
from tests.support.live import Figures, hanging
from tests.support.servers import AMPLE, CHEAP, Server, eventually, parsed, serving
from tests.support.settings import SECRET

DRAIN = 2
CALLERS = 4
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def login(email: str) -> bytes:
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    head = b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def test_a_process_that_stops_says_so_first_and_finishes_what_it_has(
    framework: str, email: str, tmp_path: Path, figures: Figures
) -> None:
    """By the settings with which it started: who deploys has put the next release's in place by then."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    settings = {**AMPLE, "AUTH_DRAIN": str(DRAIN), "AUTH_SECRET_KEY_FILE": str(secret)}
    with serving(tmp_path, framework, **settings) as (server,), ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        token = server.api.signed_in(email)["access_token"]
        (tmp_path / ".env").write_text("AUTH_OF_THE_NEXT_RELEASE=1")
        secret.unlink()
        used, unused, hashing, arriving = (stack.enter_context(server.connect()) for _ in range(4))
        used.sendall(HEALTH)
        while not used.recv(65536).endswith(b"}"):
            pass
        cursor = (server.api.get("/v1/revocations").header("ETag") or "").strip('"')
        waiting = pool.submit(server.api.get, f"/v1/revocations?wait=25&since={cursor}")
        arriving.sendall(HEALTH[:20])
        hashing.sendall(login(email))  # a quarter of a second on a free core
        time.sleep(0.1)  # until it has arrived, and the other one waits: nothing shows that from outside
        server.process.terminate()
        told = time.monotonic()
        assert eventually(lambda: server.api.get("/readyz").status == 503, 10)
        turned = time.monotonic() - told
        assert waiting.result(10).status == 200, "who waits for news is answered at once"
        assert server.api.whoami(token).status == 200, "who has not noticed is served all the same"
        arriving.sendall(HEALTH[20:])
        answer = parsed(arriving.recv(65536))
        assert (answer.status, (answer.header("Connection") or "").lower()) == (200, "close")
        assert parsed(hashing.recv(65536)).status == 200
        assert used.recv(1) == unused.recv(1) == b"", "nobody waits for connections that say nothing"
        assert server.process.wait(DRAIN + LINGER + 5) == 0
        assert server.process.leaves_nothing_behind()
        ended = time.monotonic() - told
    figures(f"{framework}: not ready after {turned * 1000:.0f} ms, gone after {ended:.1f} s")
    assert ended > DRAIN


def test_a_second_signal_waits_for_neither_drain_nor_request(framework: str, tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    settings = {"AUTH_DATABASE_URL": f"sqlite:///{file}", "AUTH_DATABASE_TIMEOUT": "60", "AUTH_DRAIN": "60", **CHEAP}
    with serving(tmp_path, framework, **settings) as (server,):
        with hanging(file, server.port):
            server.process.terminate()
            time.sleep(ONE_SIGNAL + 0.5)
            assert server.process.popen.poll() is None, "a first signal waits"
            assert server.api.get("/readyz").status == 503
            server.process.terminate()
            told = time.monotonic()
            assert server.process.wait() == 0
            assert time.monotonic() - told < HURRY + 2
        assert server.process.leaves_nothing_behind()


def test_request_that_came_just_before_the_signal_is_answered(framework: str, tmp_path: Path) -> None:
    """The process was busy, and meets the connection, the request, the signal and its own timers at once."""
    with serving(tmp_path, framework, **CHEAP) as (server,):
        processes = family_of(server.process.popen.pid)
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        with server.connect() as connection, connection.makefile("rb") as answer:
            connection.sendall(HEALTH)
            server.process.terminate()
            time.sleep(0.3)
            for process in reversed(processes):
                os.kill(process, signal.SIGCONT)
            received = answer.read()
        assert parsed(received).status == 200
        assert server.process.wait() == 0


class Caller:
    """Sends one request after the other on one connection, and a new one each time when that has ended."""

    def __init__(self, server: Server, token: str, pause: float) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        self._token = token
        self._pause = pause
        self.statuses: list[int] = []
        self.lost = 0

    def send(self) -> None:
        """Send until nobody listens any more. Only a connection that was begun at that moment may be lost."""
        with closing(self._connection):
            while True:
                is_new = self._connection.sock is None
                try:
                    self.statuses.append(self._one())
                except ConnectionRefusedError:
                    return
                except ConnectionError:
                    if not is_new:
                        self.lost += 1
                    return
                time.sleep(self._pause)

    def _one(self) -> int:
        self._connection.request("GET", "/v1/whoami", headers={"Authorization": f"Bearer {self._token}"})
        with self._connection.getresponse() as response:
            response.read()
        return response.status


def send_while_ready(server: Server, token: str) -> list[int]:
    """As a load balancer does that makes a connection for each request, until the process says that it is not ready."""
    statuses = []
    while server.api.get("/readyz").status == 200:
        statuses.append(server.api.whoami(token).status)
    return statuses


def test_nobody_is_dropped_while_a_process_stops(framework: str, email: str, tmp_path: Path, figures: Figures) -> None:
    """Not while many send, and with two workers that are told by two ways, as systemd does it."""
    with (
        serving(tmp_path, framework, options=["--workers", "2"], AUTH_DRAIN="1", **CHEAP) as (server,),
        ThreadPoolExecutor(2 * CALLERS) as pool,
    ):
        token = server.api.signed_in(email)["access_token"]
        callers = [Caller(server, token, pause) for pause in (0.0, LINGER / 4) * (CALLERS // 2)]
        sending = [pool.submit(caller.send) for caller in callers]
        balanced = [pool.submit(send_while_ready, server, token) for _ in range(CALLERS)]
        assert eventually(lambda: min(len(caller.statuses) for caller in callers) >= 2, 30)
        os.killpg(server.process.popen.pid, signal.SIGTERM)
        for sender in sending:
            sender.result(30)
        statuses = [status for caller in callers for status in caller.statuses]
        statuses += [status for sender in balanced for status in sender.result(30)]
        assert server.process.wait() == 0
        assert server.process.leaves_nothing_behind()
    figures(f"{framework}: {len(statuses)} requests, none dropped")
    assert set(statuses) == {200}
    assert [caller.lost for caller in callers] == [0] * CALLERS


@pytest.mark.parametrize("seconds", [0, 1])
def test_how_long_an_idle_connection_is_kept_is_a_setting(framework: str, tmp_path: Path, seconds: int) -> None:
    with serving(tmp_path, framework, AUTH_HTTP_KEEP_ALIVE=str(seconds), **CHEAP) as (server,):
        started = time.monotonic()
        answer = server.raw(HEALTH)
    assert bool(re.search(rb"(?im)^connection: close", answer)) is (seconds == 0)
    assert seconds <= time.monotonic() - started < seconds + 4
