"""The counters of the kernel and of the database, which other load on the machine hardly changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

TICK = os.sysconf("SC_CLK_TCK")


def _seconds_of(pid: int, *, reaped: bool = False) -> float:
    """Return the CPU time of a process, with ``reaped`` also that of its ended children."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended
    return sum(int(value) for value in values[11 : 15 if reaped else 13]) / TICK


def _processes(belongs: Callable[[list[str]], bool]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                values = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if belongs(values):
                found.append(int(entry.name))
    return found


@dataclass(frozen=True, slots=True)
class Counts:
    """The CPU seconds and the bytes of log so far."""

    door: float
    database: float
    wal: int


class Meter:
    """Reads the counters of a door's processes and of its database server."""

    def __init__(self, engine: Engine, group: int | None) -> None:
        self._engine = engine
        self._group = group
        with engine.connect() as connection:
            folder = connection.scalar(text("SHOW data_directory"))
        self._postmaster = int((Path(str(folder)) / "postmaster.pid").read_text().split()[0])

    def read(self) -> Counts:
        """Read the counters now."""
        with self._engine.connect() as connection:
            wal = connection.scalar(text("SELECT pg_current_wal_insert_lsn() - '0/0'"))
        children = _processes(lambda values: int(values[1]) == self._postmaster)
        database = sum(map(_seconds_of, children)) + _seconds_of(self._postmaster, reaped=True)
        return Counts(self._door(), database, int(wal or 0))

    def _door(self) -> float:
        if self._group is None:
            return time.process_time()
        members = _processes(lambda values: int(values[2]) == self._group)
        return sum(_seconds_of(member, reaped=True) for member in members)
