"""One stack for all tests of it, from nothing to nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.stack.compose import Stack, standing


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not os.environ.get("AUTH_TEST_DOCKER"):
        pytest.skip("no Docker engine asked for: make lab-stack")
    with standing(tmp_path_factory.mktemp("secrets")) as found:
        yield found
