"""The role of the service in the stack's database, made by the stack's own script on a server of its kind."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from sqlalchemy import make_url

from core.app import build
from core.origin import Origin
from tests.support.api import EMAIL, PASSWORD
from tests.support.databases import migrated_store
from tests.support.postgres import own_postgres_server, postgres_program
from tests.support.servers import CHEAP, FRAMEWORKS, ROOT, run_command, serving
from tests.support.settings import SECRET, make_settings

FOLDER = ROOT / "deploy" / "compose"
HERE = Origin(ip="192.0.2.7")


@dataclass(frozen=True)
class Database:
    """A server as the image starts it: whoever comes by its socket is believed."""

    superuser_url: str
    """As it was at first: it comes in over the network no more."""
    socket: Path
    folder: Path

    @property
    def url(self) -> str:
        """How the service reaches it, from what the job of the secrets made."""
        url = make_url((self.folder / "service" / "database_url").read_text())
        here = make_url(self.superuser_url)
        return url.set(host=here.host, port=here.port).render_as_string(hide_password=False)

    def make_secrets(self) -> None:
        line = ["/bin/sh", str(FOLDER / "make-secrets"), str(self.folder / "service"), str(self.folder / "role")]
        subprocess.run(line, check=True, timeout=30)

    def make_role(self) -> subprocess.CompletedProcess[str]:
        """Run the script over the socket, as the job does."""
        path = f"{postgres_program('psql').parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["/bin/sh", str(FOLDER / "make-role"), str(self.folder / "role" / "password")],
            env={"PATH": path, "PGHOST": str(self.socket), "PGPORT": str(make_url(self.superuser_url).port)},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    def ask(self, statement: LiteralString) -> list[Any]:
        """Return the first column of what the service is answered."""
        with psycopg.connect(self.url) as connection:
            return [row[0] for row in connection.execute(statement).fetchall()]


@contextmanager
def _database(folder: Path, superuser: str) -> Iterator[Database]:
    with own_postgres_server(superuser=superuser, local="trust") as server:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE DATABASE twinauth")
            (socket,) = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
        url = make_url(server).set(database="twinauth").render_as_string(hide_password=False)
        database = Database(url, Path(socket), folder)
        database.make_secrets()
        yield database


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database at its first start."""
    with _database(tmp_path_factory.mktemp("fresh"), "postgres") as database:
        done = database.make_role()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        yield database


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One of a stack in which the service was the superuser, with an account in it."""
    with _database(tmp_path_factory.mktemp("earlier"), "twinauth") as database:
        with migrated_store(database.superuser_url) as store:
            build(make_settings(), store=store).accounts.sign_up(EMAIL, PASSWORD, None, HERE)
        done = database.make_role()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        yield database


@pytest.fixture(params=["fresh", "earlier"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


def test_the_service_owns_its_database_and_may_do_nothing_beside(database: Database) -> None:
    powers = "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
    assert database.ask(f"SELECT {powers} FROM pg_roles WHERE rolname = current_user") == [False]
    owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
    assert database.ask(owner) == ["twinauth"]
    memberships = "SELECT count(*) FROM pg_auth_members WHERE member = 'twinauth'::regrole"
    assert database.ask(memberships) == [0]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT pg_ls_dir('/')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/twinauth'",
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE another",
        "ALTER ROLE twinauth SUPERUSER",
        "SET ROLE postgres",
    ],
)
def test_who_has_taken_over_the_service_reaches_no_file_and_no_other_role(database: Database, statement: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement)
    assert refused.value.sqlstate == "42501"


def test_the_superuser_has_no_password(database: Database) -> None:
    superuser = make_url(database.superuser_url)
    for name in ("postgres", "twinauth", "renamer"):
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(superuser.set(username=name).render_as_string(hide_password=False))


def test_it_is_made_again_at_each_start_and_the_same(database: Database) -> None:
    before = database.ask("SELECT rolname FROM pg_roles ORDER BY 1")
    done = database.make_role()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert database.ask("SELECT rolname FROM pg_roles ORDER BY 1") == before
    assert "renamer" not in before


def test_both_doors_work_with_it_and_find_what_was_there(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path
) -> None:
    settings = {"AUTH_DATABASE_URL": database.url, "AUTH_SECRET_KEY": SECRET}
    migrated = run_command(tmp_path, "migrate", **settings)
    assert migrated.returncode == 0, migrated.stderr
    owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"
    assert database.ask(owners) == ["twinauth"]
    with serving(tmp_path, *FRAMEWORKS, **settings, **CHEAP) as doors:
        if "fresh" in request.node.name:
            doors[0].api.signup()
        for door in doors:
            pair = door.api.login()
            assert door.api.whoami(pair["access_token"]).status == 200
            assert door.api.refresh(pair["refresh_token"]).status == 200


def test_the_password_is_in_no_log_also_when_it_cannot_be_set(fresh: Database) -> None:
    """A statement that fails is logged, whatever is set; one of these has the password in it."""
    here = f"host={fresh.socket} port={make_url(fresh.superuser_url).port} user=postgres dbname=twinauth"
    with psycopg.connect(here, autocommit=True) as superuser:
        superuser.execute("ALTER ROLE postgres SET log_statement = 'all'")
        assert fresh.make_role().returncode == 0
        superuser.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
        try:
            assert fresh.make_role().returncode != 0
        finally:
            superuser.execute("SET default_transaction_read_only = off")
            superuser.execute("ALTER ROLE postgres RESET ALL")
    log = (fresh.socket / "log").read_text()
    assert "DROP ROLE IF EXISTS renamer" in log
    assert "cannot execute" in log
    assert (fresh.folder / "role" / "password").read_text() not in log
