"""A database over a network: what is sent is encrypted, and goes to the server that is meant and to no other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from core.errors import DatabaseUnavailable
from tests.support.certificates import Certificate, certificate
from tests.support.database_faults import opened
from tests.support.postgres import own_postgres_server
from tests.support.servers import eventually


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def url(ours: Certificate) -> Iterator[str]:
    """A server that speaks TLS, and still answers who does not."""
    with own_postgres_server() as url:
        _present(url, ours)
        yield url


def _present(url: str, ours: Certificate) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        ((data,),) = connection.execute("SHOW data_directory").fetchall()
        for name, source in (("server.crt", ours.file), ("server.key", ours.key)):
            copy = Path(shutil.copy(source, Path(data) / name))
            copy.chmod(0o600)
            os.chown(copy, Path(data).stat().st_uid, Path(data).stat().st_gid)
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
    assert eventually(lambda: _is_encrypted(f"{url}?sslmode=prefer"), 10)


def _is_encrypted(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.pgconn.ssl_in_use


def verifying(url: str, trusted: Certificate) -> str:
    """The URL as the guides write it."""
    return f"{url}?sslmode=verify-full&sslrootcert={trusted.file}"


def test_what_is_sent_to_the_server_that_is_meant_is_encrypted(url: str, ours: Certificate) -> None:
    with opened(verifying(url, ours)) as store, store.engine.connect() as connection:
        assert connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))


def test_nothing_is_sent_to_a_server_with_another_certificate(url: str, tmp_path: Path) -> None:
    with opened(verifying(url, certificate(tmp_path))) as store, pytest.raises(DatabaseUnavailable):
        store.check()


def test_nothing_is_sent_to_a_server_of_another_name(url: str, ours: Certificate) -> None:
    by_name = make_url(url).set(host="localhost").render_as_string(hide_password=False)
    with opened(verifying(by_name, ours)) as store, pytest.raises(DatabaseUnavailable):
        store.check()
