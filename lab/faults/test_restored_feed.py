"""A verifier beside a service whose database is set back, as after a failover that lost commits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twinauth_verify import InvalidToken, Unavailable, Verifier

from tests.support.postgres import free_port
from tests.support.servers import CHEAP, HOST, START_SECONDS, Server, eventually, running

TOLD_SECONDS = 5


@contextmanager
def door(folder: Path, port: int) -> Iterator[Server]:
    """A door that comes back where it was before."""
    settings = {**CHEAP, "AUTH_PUBLIC_URL": f"http://{HOST}:{port}"}
    with running(folder, "serve", "--framework", "fastapi", "--port", str(port), **settings) as process:
        server = Server("fastapi", port, process)
        assert eventually(server.is_ready, START_SECONDS), process.printed()
        yield server


@pytest.mark.parametrize(("ended_before", "ended_after"), [(2, 1), (2, 2), (1, 2)], ids=["behind", "equal", "past"])
def test_a_verifier_hears_of_ends_after_its_feed_was_set_back(
    ended_before: int, ended_after: int, tmp_path: Path
) -> None:
    """The feed's head is then behind, at and past the verifier's cursor."""
    port, database, copy = free_port(), tmp_path / "data" / "twinauth.db", tmp_path / "copy.db"
    with Verifier(issuer=f"http://{HOST}:{port}", audience=f"http://{HOST}:{port}") as verifier:

        def is_refused(token: str) -> bool:
            try:
                verifier.verify(token)
            except InvalidToken:
                return True
            except Unavailable:
                return False
            return False

        with door(tmp_path, port) as server:
            first = [server.api.signed_in(), *(server.api.login() for _ in range(4))]
            tokens = [pair["access_token"] for pair in first]
        shutil.copy(database, copy)
        with door(tmp_path, port) as server:
            for token in tokens[:ended_before]:
                assert server.api.post("/v1/logout", token=token).status == 204
            assert eventually(lambda: all(map(is_refused, tokens[:ended_before])), START_SECONDS)
        for left in tmp_path.glob("data/twinauth.db*"):
            left.unlink()
        shutil.copy(copy, database)
        with door(tmp_path, port) as server:
            ended = tokens[-ended_after:]
            assert not any(map(is_refused, ended))
            for token in ended:
                assert server.api.post("/v1/logout", token=token).status == 204
            assert eventually(lambda: all(map(is_refused, ended)), TOLD_SECONDS)
