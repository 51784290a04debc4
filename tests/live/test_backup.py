"""What is saved as the guides say, a dump and the secret key, brings users and sessions back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from core.app import build
from core.errors import InvalidToken
from core.origin import Origin
from core.settings.groups import DatabaseSettings
from core.sql_store import open_store
from tests.support.api import EMAIL, PASSWORD
from tests.support.databases import migrated_store, postgres_url
from tests.support.postgres import own_postgres_server, postgres_program
from tests.support.settings import make_settings

HERE = Origin(ip="192.0.2.7")


def test_a_dump_and_the_secret_key_bring_users_and_sessions_back(tmp_path: Path) -> None:
    dump = tmp_path / "twinauth.dump"
    with own_postgres_server() as server, postgres_url(server) as saved, postgres_url(server) as restored:
        with migrated_store(saved) as store:
            app = build(make_settings(), store=store)
            app.accounts.sign_up(EMAIL, PASSWORD, None, HERE)
            pair, ended = (app.authentication.login(EMAIL, PASSWORD, HERE) for _ in range(2))
            app.sessions.logout(app.sessions.whoami(ended.access_token), HERE)
        _run("pg_dump", "--format=custom", f"--file={dump}", saved)
        _run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={restored}", str(dump))
        store = open_store(restored, DatabaseSettings())
        store.check()
        app = build(make_settings(), store=store)
        assert app.sessions.whoami(pair.access_token).user.email == EMAIL
        assert app.sessions.refresh(pair.refresh_token, HERE)
        assert app.authentication.login(EMAIL, PASSWORD, HERE)
        with pytest.raises(InvalidToken):
            app.sessions.whoami(ended.access_token)
        store.close()


def _run(name: str, *arguments: str) -> None:
    done = subprocess.run([postgres_program(name), *arguments], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
