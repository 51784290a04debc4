"""Plant one fault after another, and see which tests see it (`make lab-planted`)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.planted_faults.faults import FAULTS, Fault
from lab.planted_faults.planting import FAILED, PASSED, PlantingError, asked, copied, planted

EVERYTHING = ("tests",)  # what `make test` asks


def main() -> int:
    arguments = _arguments()
    faults = [fault for fault in FAULTS if not arguments.names or any(name in fault.name for name in arguments.names)]
    if arguments.list:
        _say(*(f"{fault.heading}: {fault.name} ({', '.join(fault.tests)})" for fault in faults))
        return 0
    with tempfile.TemporaryDirectory(prefix="twinauth-planted-") as folder:
        tree = copied(Path(folder))
        try:
            _expect_nothing_without_a_fault(tree, faults)
            unseen = [fault.name for fault in faults if not _is_seen(tree, fault, everything=arguments.everything)]
        except PlantingError as error:
            _say(f"Error: {error}")
            return 2
    _say(f"{len(faults) - len(unseen)} of {len(faults)} were seen", *(f"NOT SEEN: {name}" for name in unseen))
    return 1 if unseen else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.planted_faults", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of faults; without one, all of them")
    parser.add_argument("--list", action="store_true", help="say what there is, and plant nothing")
    parser.add_argument("--everything", action="store_true", help="ask all of `make test`, not the tests of the fault")
    return parser.parse_args()


def _expect_nothing_without_a_fault(tree: Path, faults: Sequence[Fault]) -> None:
    """What fails anyway sees nothing."""
    verdict = asked(tree, sorted({test for fault in faults for test in fault.tests}))
    if verdict.code != PASSED:
        raise PlantingError(f"without any fault, {verdict.failed or 'pytest'} fails:\n{verdict.output[-3000:]}")
    _say(f"without any fault, all tests pass ({verdict.seconds:.0f} s)")


def _is_seen(tree: Path, fault: Fault, *, everything: bool) -> bool:
    with planted(tree, fault):
        options = ("-n", "2", "--dist", "loadfile") if everything else ()
        verdict = asked(tree, EVERYTHING if everything else fault.tests, *options)
    if verdict.code not in (PASSED, FAILED):
        raise PlantingError(f"{fault.name}: nothing could be asked:\n{verdict.output[-3000:]}")
    is_seen = verdict.code == FAILED
    by = f"seen by {verdict.failed}" if is_seen else "NOT SEEN"
    _say(f"{fault.heading}: {fault.name}: {by} ({verdict.seconds:.0f} s)")
    return is_seen


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
