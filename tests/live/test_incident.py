"""The guide for when something leaked, each command and statement run as it stands."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.support.commands import invoked
from tests.support.databases import migrated_store
from tests.support.documents import blocks
from tests.support.servers import CHEAP, FRAMEWORKS, ROOT, Server, environment, eventually, serving
from tests.support.settings import SECRET

GUIDE = (ROOT / "docs" / "guides" / "incident.md").read_text(encoding="utf-8")
SIGNING_KEY, SECRET_KEY, CLIENT_SECRET = blocks(GUIDE, "sh")
CLOSE, OPEN_AGAIN, ADMINISTRATOR, AUDIT = blocks(GUIDE, "sql")
EMAIL = "ann@example.com"
SECONDS = 5


class Operator:
    """Runs blocks of the guide with the settings of a service on this database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        secret_key = folder / "secret_key"
        secret_key.write_text(SECRET)
        secret_key.chmod(0o600)
        self.settings = {"AUTH_SECRET_KEY_FILE": str(secret_key), "AUTH_DATABASE_URL": url, **CHEAP}
        program = folder / "bin" / "twinauth"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli.main "$@"\n')
        program.chmod(0o700)

    def shell(self, block: str, **variables: str) -> str:
        env = environment(self.folder, **self.settings) | variables
        env["PATH"] = os.pathsep.join((str(self.folder / "bin"), env["PATH"]))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, block: str) -> list[Any]:
        url = make_url(self.url)
        engine = create_engine(url.set(drivername="postgresql+psycopg") if url.get_backend_name() != "sqlite" else url)
        rows: list[Any] = []
        with engine.begin() as connection:
            for statement in filter(str.strip, block.split(";")):
                done = connection.execute(text(statement))
                rows = list(done) if done.returns_rows else [done.rowcount]
        engine.dispose()
        return rows


@pytest.fixture
def operator(empty_database: str, tmp_path: Path) -> Operator:
    with migrated_store(empty_database):
        return Operator(tmp_path, empty_database)


def statuses(servers: Sequence[Server], token: str) -> set[int]:
    return {server.api.whoami(token).status for server in servers}


def codes(servers: Sequence[Server]) -> set[str | None]:
    return {server.api.get("/readyz").json.get("code") for server in servers}


def test_a_signing_key_and_the_secret_key(operator: Operator) -> None:
    with serving(operator.folder, *FRAMEWORKS, **operator.settings) as servers:
        pair = servers[0].api.signed_in(EMAIL)
        assert statuses(servers, pair["access_token"]) == {200}
        assert "is retired" in operator.shell(SIGNING_KEY)
        assert eventually(lambda: statuses(servers, pair["access_token"]) == {401}, SECONDS)
        pair = servers[0].api.refresh(pair["refresh_token"]).json
        assert statuses(servers, pair["access_token"]) == {200}

        assert "1 sessions" in operator.shell(SECRET_KEY)
        assert (operator.folder / "secret_key").stat().st_mode & 0o777 == 0o600
        assert statuses(servers, pair["access_token"]) <= {401, 503}, "the session has ended, and no key can be opened"
        assert eventually(lambda: codes(servers) == {"keys_locked"}, SECONDS)
    with serving(operator.folder, *FRAMEWORKS, **operator.settings) as servers:
        assert {server.api.refresh(pair["refresh_token"]).status for server in servers} == {401}
        assert statuses(servers, servers[0].api.login(EMAIL)["access_token"]) == {200}


def test_a_client_a_mailbox_and_an_administrator(operator: Operator) -> None:
    created = invoked(operator.folder, "clients", "create", "Orders", **operator.settings).stdout
    client_id, secret = (line.split()[1] for line in created.splitlines())
    with serving(operator.folder, *FRAMEWORKS, **operator.settings) as servers:
        api = servers[0].api
        form = {"grant_type": "client_credentials", "client_id": client_id}
        assert api.post("/v1/token", form=form | {"client_secret": secret}).status == 200
        renewed = operator.shell(CLIENT_SECRET, CLIENT_ID=client_id).split("secret ")[1].split()[0]
        assert api.post("/v1/token", form=form | {"client_secret": secret}).status == 401
        assert api.post("/v1/token", form=form | {"client_secret": renewed}).status == 200

        pair = api.signed_in(EMAIL)
        assert operator.sql(CLOSE) == [1]
        assert statuses(servers, pair["access_token"]) == {401}
        assert api.refresh(pair["refresh_token"]).status == 401
        assert operator.sql(OPEN_AGAIN) == [1]
        assert statuses(servers, pair["access_token"]) == {401}, "the session of whoever read the mail"
        pair = api.login(EMAIL)
        assert statuses(servers, pair["access_token"]) == {200}
        exports = [server.api.get("/v1/account/export", token=pair["access_token"]) for server in servers]
        assert [answer.status for answer in exports] == [200, 200], "the rows that were written by hand are read"
        assert operator.sql(ADMINISTRATOR) == [1]
        assert statuses(servers, pair["access_token"]) == {401}
    kinds = [row.kind for row in operator.sql(AUDIT)]
    assert {"logged_in", "client_disabled", "client_enabled"} <= set(kinds)


def test_every_block_of_the_guide_is_run() -> None:
    assert GUIDE.count("```") == 2 * (len(blocks(GUIDE, "sh")) + len(blocks(GUIDE, "sql")))
