"""The table of faults that `make lab-planted` plants does not rot."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.planted_faults.faults import FAULTS, Fault
from lab.planted_faults.planting import PlantingError, node_of, planted

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What is not promised")[0]
HEADINGS = re.findall(r"^## (.+)$", PROMISES, re.MULTILINE)

each = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@each
def test_the_text_of_a_fault_stands_in_the_tree_exactly_once(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text(encoding="utf-8").count(fault.text) == 1


@each
def test_the_tests_that_see_a_fault_are_there(fault: Fault) -> None:
    assert fault.tests
    assert [node_of(ROOT, test) for test in fault.tests]


def test_every_heading_of_the_security_page_has_a_fault() -> None:
    assert len(HEADINGS) > 5
    assert {fault.heading for fault in FAULTS} == set(HEADINGS)


def test_a_fault_is_planted_and_taken_out_again(tmp_path: Path) -> None:
    fault = Fault(name="a", heading="b", file="c.py", text="right", replacement="wrong", tests=())
    (tmp_path / "c.py").write_text("right is right")
    with pytest.raises(PlantingError, match="2 times"), planted(tmp_path, fault):
        pass
    (tmp_path / "c.py").write_text("it is right")
    with planted(tmp_path, fault):
        assert (tmp_path / "c.py").read_text() == "it is wrong"
    assert (tmp_path / "c.py").read_text() == "it is right"


def test_a_test_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("class TestB:\n    def test_c(self): ...\n\n\ndef test_d(): ...\n")
    assert node_of(tmp_path, "test_a.py::test_c") == "test_a.py::TestB::test_c"
    assert node_of(tmp_path, "test_a.py::test_d") == "test_a.py::test_d"
    for gone in ("test_a.py::test_e", "test_b.py"):
        with pytest.raises(PlantingError, match="there is no"):
            node_of(tmp_path, gone)
