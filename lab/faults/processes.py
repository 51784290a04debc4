"""Processes as the kernel sees them."""

from __future__ import annotations

from pathlib import Path


def children_of(process: int) -> list[int]:
    """The processes that it has started and that are still there."""
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in listed.split()]


def family_of(process: int) -> list[int]:
    """A process and all that it started, and so on."""
    return [process, *(member for child in children_of(process) for member in family_of(child))]


def command_of(process: int) -> bytes:
    """Its command line; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def lives(process: int) -> bool:
    """Whether it is more than a status that nobody has asked for."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
