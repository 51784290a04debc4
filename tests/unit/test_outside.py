"""What is left out of the contract when it is asked from outside is there, and stands in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.stack.outside import INSIDE, why_not

SUITE = Path(__file__).parents[1] / "contract"
TESTS = set(re.findall(r"def (test_\w+)", "".join(path.read_text() for path in SUITE.glob("test_*.py"))))


@pytest.mark.parametrize("pattern", INSIDE)
def test_each_pattern_means_a_test_that_there_is(pattern: str) -> None:
    without_parameters = re.sub(r"\.\*-?\(.*\)-?\.\*$", ".*", pattern)
    assert [name for name in TESTS if re.fullmatch(without_parameters, name)]


def test_most_of_the_contract_is_asked() -> None:
    assert len([name for name in TESTS if why_not(name)]) < len(TESTS) / 8
