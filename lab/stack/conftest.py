"""One stack for all tests of it, from nothing to nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.stack.compose import Stack, standing
from tests.live.conftest import figures

__all__ = ["figures"]  # the fixture of the live tests


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if not os.environ.get("AUTH_TEST_DOCKER"):
        pytest.skip("needs a Docker engine, and takes minutes: make stack-test")
    with standing(tmp_path_factory.mktemp("secrets")) as found:
        yield found
