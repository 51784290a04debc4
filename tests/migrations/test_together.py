"""Replicas that start at the same moment all migrate, and it happens once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from core.sql_store import SqlStore
from core.storage.schema import HEAD_REVISION
from migrations.runner import config, upgrade
from tests.support.migration_rows import ROWS, insert_rows

PROCESSES = 4
# Everything is imported before the first database is named, so that the work itself begins at the same moment.
_MIGRATE = """
import logging, sys, traceback
from core.storage.engine import open_engine
from core.settings.groups import DatabaseSettings
from migrations.runner import upgrade
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
print("done", flush=True)
for url in sys.stdin:
    engine = open_engine(url.strip(), DatabaseSettings())
    try:
        upgrade(engine)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print("failed", flush=True)
    else:
        print("done", flush=True)
    engine.dispose()
"""

Processes = list["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Processes that migrate every database whose URL they are told."""
    command = [sys.executable, "-W", "error", "-c", _MIGRATE]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(PROCESSES)
        ]
        for process in started:
            assert _written(process)[-1] == "done"
        yield started
        for process in started:
            process.communicate(timeout=10)


def _written(process: subprocess.Popen[str]) -> list[str]:
    """What a process writes until it is done or has failed."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if lines[-1] in {"done", "failed"}:
            break
    return lines


def _migrate_together(processes: Processes, url: str) -> list[str]:
    """What the processes wrote, after all of them succeeded."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{url}\n")
        process.stdin.flush()
    written = [_written(process) for process in processes]
    assert [lines[-1] for lines in written] == ["done"] * PROCESSES, written
    return [line for lines in written for line in lines]


def _steps(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("Running upgrade")]


def test_processes_that_migrate_an_empty_database_at_once_all_succeed_and_migrate_it_once(
    processes: Processes, url: str, engine: Engine
) -> None:
    revisions = list(ScriptDirectory.from_config(config()).walk_revisions())
    assert len(_steps(_migrate_together(processes, url))) == len(revisions)
    SqlStore(engine).check()
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == [HEAD_REVISION]


def test_new_sqlite_files_are_migrated_once_every_time(processes: Processes, tmp_path: Path) -> None:
    """The first to open a file also changes its journal mode, for which SQLite does not wait by itself."""
    for number in range(15):
        assert len(_steps(_migrate_together(processes, f"sqlite:///{tmp_path / f'{number}.db'}"))) == len(ROWS)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_new_sqlite_file_that_another_connection_writes_to_is_waited_for(engine: Engine) -> None:
    path = str(engine.url.database)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        migration = pool.submit(upgrade, engine)
        wait([migration], timeout=0.3)
        other.execute("COMMIT")
        migration.result(10)
    SqlStore(engine).check()


def test_processes_that_migrate_a_database_at_the_head_all_find_it_done(
    processes: Processes, url: str, engine: Engine
) -> None:
    upgrade(engine)
    insert_rows(engine, HEAD_REVISION)
    assert _steps(_migrate_together(processes, url)) == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM users")) == len(ROWS[HEAD_REVISION]["users"])


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_database_whose_default_is_serialisable_is_migrated_once_too(
    processes: Processes, url: str, engine: Engine
) -> None:
    """There, whoever waited for the lock still sees the database as it was before the wait."""
    with engine.begin() as connection:
        name = engine.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    engine.dispose()
    assert len(_steps(_migrate_together(processes, url))) == len(ROWS)
    SqlStore(engine).check()
