"""The soak prints what it measures."""

from tests.live.conftest import figures

__all__ = ["figures"]  # the fixture of the live tests
