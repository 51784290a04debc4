"""The README's tables of settings, and of what production refuses, are the code's."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.settings.loading import settings_table
from core.settings.production import dangers_table

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize(("name", "table"), [("settings", settings_table), ("dangers", dangers_table)])
def test_every_row_stands_in_the_readme_as_it_is_printed(name: str, table: Callable[[], list[str]]) -> None:
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)\n\n", README.read_text(), re.DOTALL)
    assert found, f"the README has no table of {name}"
    assert found[1].splitlines() == table(), "paste what `twinauth settings` prints"
