"""What a process wrote to its log, line by line."""

from __future__ import annotations

import json
from typing import Any


def objects(text: str) -> list[dict[str, Any]]:
    """Return every line as the object that it is; whatever any reader may take for the end of a line is one."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) and {"event", "level", "logger", "timestamp"} <= line.keys() for line in lines)
    return lines
