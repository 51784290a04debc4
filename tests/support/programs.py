"""Programs that pip does not bring. Without one, what needs it is skipped, and the run says how to have it."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

# Debian puts some where only administrators look.
PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"))


def program(*names: str, package: str) -> Path:
    """Return the first of these programs that is here.

    Raises:
        pytest.skip.Exception: there is none.

    """
    found = next(filter(None, (shutil.which(name, path=PATH) for name in names)), None)
    if found is None:
        pytest.skip(f"no {names[0]}: apt-get install {package}")
    return Path(found)


def skipped(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """Return a line for each reason, the one that most was skipped for first."""
    tests: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
        tests[reason.removeprefix("Skipped: ")].add(report.nodeid)
    by_count = sorted(tests.items(), key=lambda item: (-len(item[1]), item[0]))
    return [f"{len(found):5} skipped: {reason}" for reason, found in by_count]
