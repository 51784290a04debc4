"""Open files of this process, and of those that it starts."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FILES = resource.RLIMIT_NOFILE


@contextmanager
def soft_limit(soft: int) -> Iterator[None]:
    """So many may be open at once."""
    before, hard = resource.getrlimit(FILES)
    resource.setrlimit(FILES, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(FILES, (before, hard))


@contextmanager
def room_for(files: int) -> Iterator[None]:
    """At least so many may be open at once; skips the test where the system does not allow it."""
    soft, hard = resource.getrlimit(FILES)
    if hard < files:
        pytest.skip(f"the hard limit of open files is below {files}")
    with soft_limit(max(soft, files)):
        yield
