"""The README's table of settings is the code's."""

import re
from pathlib import Path

from core.settings.loading import settings_table

README = Path(__file__).parents[2] / "README.md"


def test_every_setting_stands_in_the_readme_with_its_default_and_text() -> None:
    found = re.search(r"<!-- settings: .*? -->\n(.*?)\n\n", README.read_text(), re.DOTALL)
    assert found, "the README has no table of settings"
    assert found[1].splitlines() == settings_table(), "paste what `twinauth settings` prints"
