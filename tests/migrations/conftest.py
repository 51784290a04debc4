"""Databases of their own for migrations: empty, and at no revision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from core.settings.groups import DatabaseSettings
from core.storage.engine import open_engine
from tests.support.databases import postgres_url, sqlite_url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, database_folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    made = (
        sqlite_url(database_folder) if request.param == "sqlite" else postgres_url(request.getfixturevalue("postgres"))
    )
    with made as found:
        yield found


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An empty database, opened as the service opens it."""
    opened = open_engine(url, DatabaseSettings())
    yield opened
    opened.dispose()
