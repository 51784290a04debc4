"""One `store` over {sqlite, postgres}, empty for every test. A test never asks which one it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from core.sql_store import SqlStore
from tests.support.databases import assert_nothing_checked_out, empty


@contextmanager
def _emptied(store: SqlStore) -> Iterator[SqlStore]:
    try:
        yield store
        assert_nothing_checked_out(store)
    finally:
        empty(store, keys=True)


@pytest.fixture(params=("sqlite", "postgres"))
def store(request: pytest.FixtureRequest, stores: Callable[[str, str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores(request.param, __name__)) as emptied:
        yield emptied


@pytest.fixture
def sqlite_store(stores: Callable[[str, str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores("sqlite", __name__)) as emptied:
        yield emptied


@pytest.fixture
def postgres_store(stores: Callable[[str, str], SqlStore]) -> Iterator[SqlStore]:
    with _emptied(stores("postgres", __name__)) as emptied:
        yield emptied
