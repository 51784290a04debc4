"""The signing key changes under load, and nobody is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.api import Api
from tests.support.databases import postgres_url
from tests.support.live import Figures
from tests.support.servers import CHEAP, FRAMEWORKS, eventually, run_command, serving

PROPAGATION = 4  # seconds
ROTATIONS = ("RS256", "EdDSA", "ES256")


class Load:
    """Two users that refresh and ask who they are, at every door in turn, until they are told to stop."""

    def __init__(self, doors: list[Api]) -> None:
        self._doors = doors
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers = 0
        self.refused: list[Any] = []
        self.kids: set[str] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._user, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _user(self, number: int) -> None:
        pair = self._doors[number].signed_in(f"user.{number}@example.com")
        oldest = pair["access_token"]
        turn = number
        while not self._stop.is_set():
            turn += 1
            here, there = self._doors[turn % 2], self._doors[(turn + 1) % 2]
            answer = here.refresh(pair["refresh_token"])
            self._note(answer)
            if answer.status == 200:
                pair = answer.json
            # The newest and the oldest token, at both doors: signed by the newest and the oldest key.
            for api, token in ((here, pair["access_token"]), (there, pair["access_token"]), (there, oldest)):
                self._note(api.whoami(token))
            with self._lock:
                self.kids.add(jwt.get_unverified_header(pair["access_token"])["kid"])

    def _note(self, answer: Any) -> None:
        with self._lock:
            self.answers += 1
            if answer.status != 200:
                self.refused.append((answer.status, answer.body))


@pytest.mark.parametrize("workers", ["2"])
def test_no_verification_fails_through_whole_rotations(
    postgres: str, tmp_path: Path, workers: str, figures: Figures
) -> None:
    settings = {"AUTH_TOKEN_KEY_PROPAGATION": str(PROPAGATION), **CHEAP}
    with (
        postgres_url(postgres) as url,
        serving(tmp_path, *FRAMEWORKS, options=("--workers", workers), AUTH_DATABASE_URL=url, **settings) as servers,
    ):
        load = Load([server.api for server in servers])
        with load.running():
            for count, algorithm in enumerate(ROTATIONS, start=1):
                done = run_command(
                    tmp_path, "keys", "rotate", "--algorithm", algorithm, AUTH_DATABASE_URL=url, **settings
                )
                assert done.returncode == 0, done.stderr
                kid = done.stdout.split()[0]
                assert eventually(partial(load.kids.__contains__, kid), 6 * PROPAGATION), (count, algorithm)
            time.sleep(1)
        keys = load._doors[0].get("/.well-known/jwks.json").json["keys"]
    assert load.refused == []
    assert len(load.kids) == len(keys) == 1 + len(ROTATIONS)
    figures(f"{load.answers} answers through {len(ROTATIONS)} rotations, none refused")
