"""One `store` over {sqlite, postgres}, empty for every test. A test never asks which one it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, insert, select

from core.sql_store import SqlStore
from core.tokens.sql import signing_keys
from tests.support.databases import assert_nothing_checked_out, empty


@contextmanager
def _without_signing_keys(store: SqlStore) -> Iterator[None]:
    """Other suites of this run have read the keys of this database: put them back afterwards."""
    with store.engine.begin() as connection:
        kept = [dict(row) for row in connection.execute(select(signing_keys)).mappings()]
        connection.execute(delete(signing_keys))
    try:
        yield
    finally:
        with store.engine.begin() as connection:
            connection.execute(delete(signing_keys))
            if kept:
                connection.execute(insert(signing_keys), kept)


@contextmanager
def _emptied(store: SqlStore) -> Iterator[SqlStore]:
    with _without_signing_keys(store):
        try:
            yield store
            assert_nothing_checked_out(store)
        finally:
            empty(store)


@pytest.fixture(params=("sqlite", "postgres"))
def store(request: pytest.FixtureRequest, stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores(request.param)) as emptied:
        yield emptied


@pytest.fixture
def sqlite_store(stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores("sqlite")) as emptied:
        yield emptied


@pytest.fixture
def postgres_store(stores: Callable[[str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores("postgres")) as emptied:
        yield emptied
