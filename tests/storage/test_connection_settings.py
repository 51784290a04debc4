"""What a connection is set to, whatever the defaults of the server and the database are."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from sqlalchemy import Connection, text

from core.errors import DatabaseUnavailable
from core.storage.engine import is_unusable
from core.storage.reasons import reason_of
from migrations.runner import upgrade
from tests.support.database_faults import opened
from tests.support.databases import postgres_url
from tests.support.pooler import pooling
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
