"""URLs of databases: read as libpq reads them, and told without user and password."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.storage.urls import place_of, read_url


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("one:1,two:2", "one,two", "1,2"),
        ("one,two:2", "one,two", "5432,2"),
        ("[::1]:1,[2001:db8::7]", "::1,2001:db8::7", "1,5432"),
    ],
)
@pytest.mark.parametrize("login", ["", "ann@", "ann:pass%40word@", "ann@server:p,w@"])
def test_several_hosts_are_those_of_libpq(hosts: str, host: str, port: str, login: str) -> None:
    url = read_url(f"postgresql://{login}{hosts}/auth?target_session_attrs=read-write")
    assert dict(url.query) == {"host": host, "port": port, "target_session_attrs": "read-write"}
    assert url.database == "auth"
    assert url.password == {"ann:pass%40word@": "pass@word", "ann@server:p,w@": "p,w"}.get(login)


def test_one_host_is_itself() -> None:
    url = read_url("postgresql://ann:p,w@db.example.com:5433/auth")
    assert (url.username, url.password, url.host, url.port) == ("ann", "p,w", "db.example.com", 5433)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://ann:canary@db.example.com/auth", "auth at db.example.com:5432"),
        ("postgresql://ann:canary@db.example.com:5433/auth?sslmode=require", "auth at db.example.com:5433"),
        ("postgresql://ann:canary@one:1,two/auth", "auth at one:1, two:5432"),
        ("postgresql://ann:canary@/auth?host=one,two&port=6432", "auth at one:6432, two:6432"),
        ("postgresql://ann:canary@/auth?host=one&host=two", "auth at one:5432, two:5432"),
        ("postgresql://ann:canary@db.example.com", "ann at db.example.com:5432"),
        ("postgresql:///auth?host=/run/postgresql", "auth at /run/postgresql:5432"),
        ("postgresql:///auth", "auth at the local socket:5432"),
        ("sqlite:////srv/auth.db", "/srv/auth.db"),
    ],
)
def test_a_place_has_no_password(url: str, place: str) -> None:
    assert place_of(url) == place


def test_a_file_is_named_with_its_folder() -> None:
    assert place_of("sqlite:///auth.db") == str(Path.cwd() / "auth.db")
