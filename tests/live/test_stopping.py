"""How a process ends: it says so first, finishes what it has, and leaves with 0."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.live.conftest import Figures
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


def test_a_second_signal_does_not_wait(framework: str, tmp_path: Path) -> None:
    with serving(tmp_path, framework, AUTH_DRAIN="60", **CHEAP) as (server,):
        server.process.terminate()
        assert eventually(lambda: server.api.get("/readyz").status == 503, 30)
        server.process.terminate()
        assert server.process.wait() == 0


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
