"""What a process holds, as the kernel counts it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.faults.processes import lives


@dataclass(frozen=True)
class Holding:
    """Of one or more processes together."""

    descriptors: int
    threads: int
    memory: float
    """MiB; a page that several share is counted once."""

    def __add__(self, other: Holding) -> Holding:
        return Holding(self.descriptors + other.descriptors, self.threads + other.threads, self.memory + other.memory)


NOTHING = Holding(0, 0, 0.0)


def held_by(processes: Iterable[int]) -> Holding:
    return sum((_held_by(process) for process in processes if lives(process)), NOTHING)


def _held_by(process: int) -> Holding:
    folder = Path(f"/proc/{process}")
    threads = _number(folder / "status", "Threads")
    return Holding(len(list((folder / "fd").iterdir())), threads, _number(folder / "smaps_rollup", "Pss") / 1024)


def _number(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", file.read_text(encoding="ascii"), re.MULTILINE)
    assert found, f"{file} has no {name}"
    return int(found[1])
