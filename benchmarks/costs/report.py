"""The tables of the guide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.costs.filled import TableSize
from benchmarks.costs.sizing import GIB, KIB, MIB, Cost, Need

PAGE = 8192  # bytes
NAMES = {"fastapi": "FastAPI", "flask": "Flask"}


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _number(value: float) -> str:
    """Format two significant digits."""
    if value <= 0:
        return "0"
    if value >= 100:  # noqa: PLR2004
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{float(f'{value:.2g}'):g}"


def _bytes(value: float) -> str:
    for unit, size in (("TiB", 1024 * GIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value >= size:
            return f"{_number(value / size)} {unit}"
    return f"{_number(value)} B"


def costs_table(doors: Mapping[str, Mapping[str, Cost]], verification: Mapping[str, float], hash_ms: float) -> str:
    """Format the costs of each operation."""
    head = ["operation", *(f"{NAMES[door]}, CPU ms" for door in doors), "PostgreSQL, CPU ms", "statements", "commits"]
    head += ["log, records", "log, whole pages"]
    lines = []
    first = next(iter(doors.values()))
    for name, cost in first.items():
        database = sum(costs[name].database_ms for costs in doors.values()) / len(doors)
        lines.append(
            [
                name,
                *(_number(costs[name].door_ms) for costs in doors.values()),
                _number(database),
                str(cost.statements or "-"),
                _number(cost.commits),
                _bytes(cost.wal),
                _bytes(cost.wal_first),
            ]
        )
    more = (
        f"Verified by another service: {verification['first']:.3f} ms the first time, {verification['again']:.3f} ms "
        f"again. Checking a password: {hash_ms:.0f} ms.\n"
    )
    return _table(head, lines) + "\n" + more


def sizes_table(tables: Mapping[str, TableSize]) -> str:
    """Format the size of the rows of each table."""
    head = ["table", "rows", "bytes a row", "with indexes", "levels of its indexes"]
    lines = [
        [
            name,
            f"{size.rows:,}",
            f"{size.heap:.0f}",
            f"{size.row:.0f}",
            ", ".join(f"{index} {levels or '?'}" for index, levels in size.levels.items()),
        ]
        for name, size in tables.items()
    ]
    return _table(head, lines)


def needs_tables(needs: Mapping[str, Sequence[Need]]) -> str:
    """Format the needs of each number of users."""
    first = next(iter(needs.values()))
    head = ["at the peak", *(f"{found.users:,} users" for found in first)]
    lines = [[f"{name} a second", *(_number(found.rates[name]) for found in first)] for name in first[0].rates]
    for door, found in needs.items():
        lines.append([f"cores, {NAMES[door]} door", *(_number(one.door_cores) for one in found)])
    lines += [
        ["- of which hash passwords", *(_number(one.hashing_cores) for one in first)],
        ["cores, PostgreSQL", *(_number(one.database_cores) for one in first)],
        ["commits a second", *(_number(one.commits) for one in first)],
        ["log a second, records", *(_bytes(one.wal) for one in first)],
        ["log a second, whole pages", *(_bytes(one.wal_first) for one in first)],
        ["those pages a second", *(_number((one.wal_first - one.wal) / PAGE) for one in first)],
        ["storage", *(_bytes(sum(one.storage.values())) for one in first)],
        *([f"- {table}", *(_bytes(one.storage[table]) for one in first)] for table in first[0].storage),
    ]
    return _table(head, lines)
