"""Measure the cost of each operation, in CPU seconds and bytes, and estimate the needs of many users from it.

All processes are started here, on 127.0.0.1, and end with this process.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.costs.filled import TableSize, sizes
from benchmarks.costs.measuring import measure_door, measure_hash, measure_purges, measure_verification
from benchmarks.costs.report import costs_table, needs_tables, sizes_table
from benchmarks.costs.service import filled_service
from benchmarks.costs.sizing import Assumptions, Cost, need
from tests.support.servers import FRAMEWORKS

POPULATIONS = (10**5, 10**6, 10**7, 10**8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All measurements."""

    users: int
    doors: dict[str, dict[str, Cost]]
    purges: dict[str, Cost]
    tables: dict[str, TableSize]
    verification: dict[str, float]
    hash_ms: float

    def costs(self, framework: str) -> dict[str, Cost]:
        """Return the costs at a door, with the log of both runs."""
        wal = {name: cost.wal for name, cost in self.doors[FRAMEWORKS[0]].items()}
        first = {name: cost.wal_first for name, cost in self.doors[FRAMEWORKS[1]].items()}
        joined = {
            name: Cost(**{**asdict(cost), "wal": wal[name], "wal_first": first[name]})
            for name, cost in self.doors[framework].items()
        }
        return joined | self.purges

    def save(self, path: Path) -> None:
        """Save the measurements, so that they can be used with other assumptions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Load saved measurements."""
        found: dict[str, Any] = json.loads(path.read_text())
        found["doors"] = {
            door: {name: Cost(**cost) for name, cost in costs.items()} for door, costs in found["doors"].items()
        }
        found["purges"] = {name: Cost(**cost) for name, cost in found["purges"].items()}
        found["tables"] = {name: TableSize(**size) for name, size in found["tables"].items()}
        return cls(**found)


def measure(users: int) -> Measured:
    """Measure everything; about four minutes for 200,000 users on two cores."""
    with filled_service(users) as found:
        tables = sizes(found.admin)
        doors = {
            framework: measure_door(found, framework, whole_pages=number == 1)
            for number, framework in enumerate(FRAMEWORKS)
        }
        return Measured(
            users=users,
            doors=doors,
            verification=measure_verification(found),
            purges=measure_purges(found),
            tables=tables,
            hash_ms=measure_hash(),
        )


def main() -> None:
    """Measure, or load saved measurements, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200_000, help="rows to fill the database with")
    parser.add_argument("--measured", type=Path, default=Path("build/cost.json"), help="where the figures are kept")
    parser.add_argument("--again", action="store_true", help="work out the needs from the figures that are there")
    for assumption in fields(Assumptions):
        default: Any = assumption.default
        parser.add_argument(f"--{assumption.name.replace('_', '-')}", type=type(default), default=default)
    chosen = parser.parse_args()
    if chosen.again:
        measured = Measured.load(chosen.measured)
    else:
        measured = measure(chosen.users)
        measured.save(chosen.measured)
    assumed = Assumptions(**{field.name: getattr(chosen, field.name) for field in fields(Assumptions)})
    row_bytes = {name: size.row for name, size in measured.tables.items()}
    print(costs_table({door: measured.costs(door) for door in FRAMEWORKS}, measured.verification, measured.hash_ms))
    print(sizes_table(measured.tables))
    needs = {
        door: [need(users, measured.costs(door), row_bytes, measured.hash_ms, assumed) for users in POPULATIONS]
        for door in FRAMEWORKS
    }
    print(needs_tables(needs))


if __name__ == "__main__":
    main()
