"""What a connection is set to, whatever the defaults of the server and the database are."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from core.errors import DatabaseUnavailable
from core.storage.engine import is_unusable
from core.storage.reasons import reason_of
from migrations.runner import upgrade
from tests.support.database_faults import opened
from tests.support.databases import postgres_url
from tests.support.pooler import pooling
from tests.support.postgres import free_port
from tests.support.values import account, account_in, stored


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_everywhere(postgres: str, encoding: str) -> None:
    """It could not hold every name, or would not know what its bytes mean."""
    options = f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    with postgres_url(postgres, options) as url, opened(url) as store:
        with pytest.raises(DatabaseUnavailable) as refused:
            store.check()
        assert is_unusable(refused.value)
        assert reason_of(refused.value).startswith(f"the encoding of the database is {encoding} and must be UTF8")
        with pytest.raises(DatabaseUnavailable) as at_once, store.begin():
            pass
        assert encoding in reason_of(at_once.value)


def hostile_defaults(connection: Connection, database: str) -> None:
    for setting in ("DateStyle = 'German, DMY'", "TimeZone = 'Asia/Kolkata'", "client_encoding = 'LATIN1'"):
        connection.execute(text(f"ALTER DATABASE {database} SET {setting}"))


@pytest.mark.parametrize("pooler", [False, True])
def test_the_defaults_of_a_database_change_nothing(postgres: str, *, pooler: bool) -> None:
    with postgres_url(postgres) as url:
        with opened(url) as owner, owner.engine.begin() as connection:
            hostile_defaults(connection, str(owner.engine.url.database))
        with pooling(url) if pooler else nullcontext(url) as reached, opened(reached, pooler=pooler) as store:
            upgrade(store.engine)
            ann = account(display_name="\u0141ukasz \U0001f98a")
            stored(store, ann)
            assert account_in(store, ann.user.id) == ann


def test_of_several_hosts_the_one_that_is_there_is_used(postgres: str) -> None:
    login, _, place = postgres.rpartition("@")
    url = f"{login}@127.0.0.1:{free_port()},127.0.0.1:{free_port()},{place}"
    with opened(url) as store, store.engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_of_several_hosts_that_are_away_each_is_told_once() -> None:
    ports = [free_port(), free_port()]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    with opened(f"postgresql://app:canary@{hosts}/app") as store, pytest.raises(DatabaseUnavailable) as refused:
        store.check()
    reason = reason_of(refused.value)
    assert [reason.count(f"port: '{port}'") for port in ports] == [1, 1]
    assert "\n" not in reason
    assert "canary" not in reason


def test_while_the_breaker_is_open_the_reason_is_that_of_the_failure() -> None:
    with opened(f"postgresql://app:canary@127.0.0.1:{free_port()}/app") as store:
        reasons = []
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable) as refused:
                store.check()
            reasons.append(reason_of(refused.value))
        assert reasons[0] == reasons[1]
        assert "Connection refused" in reasons[0]


def test_a_pool_that_is_used_up_is_told(postgres: str) -> None:
    with opened(postgres, pool_size=1, timeout=timedelta(milliseconds=200)) as store, store.reading():
        with pytest.raises(DatabaseUnavailable) as refused:
            store.check()
        assert reason_of(refused.value) == "every connection was in use (AUTH_DATABASE_POOL_SIZE)"
