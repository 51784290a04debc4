"""``python -m lab.cluster up DIRECTORY`` starts the lab; ``python -m lab.cluster trial`` puts it on trial."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from lab.cluster.cluster import NODES, WRITE_PORT, LabError, running_cluster
from lab.cluster.trial import open_doors, run, say


def up(folder: Path) -> int:
    """Start everything, say where it is, and stay until told to stop."""
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder))
        for name, server in open_doors(cluster, folder / "doors", stack).items():
            say(f"{name:20} {server.url}")
        say(f"{'PostgreSQL':20} {', '.join(f'{node.name} on {node.port}' for node in NODES)}; writes on {WRITE_PORT}")
        say("Everything runs. Ctrl-C ends it.")
        signal.pause()
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="lab")
    parser.add_argument("what", choices=("up", "trial"))
    parser.add_argument("folder", nargs="?", type=Path, help="a folder that is not there yet")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        if arguments.what == "up":
            if arguments.folder is None:
                parser.error("up wants a folder")
            return up(arguments.folder)
        with tempfile.TemporaryDirectory(prefix="twinauth-lab-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            return run(arguments.folder or Path(folder) / "lab")
    except LabError as error:
        say(f"lab: {error}")
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
