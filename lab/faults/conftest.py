"""A PostgreSQL server that may be broken, one for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.faults.postgres import Postgres, own_postgres


@pytest.fixture(scope="module")
def own() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server
