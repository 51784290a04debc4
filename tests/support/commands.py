"""Commands run in this process, for what they say; what makes a process of one is asked of a real one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from click.testing import CliRunner

from cli.main import main


def invoked(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself and leaves signals and logs as they are."""
    environment = {"AUTH_DATA_DIR": str(folder / "data"), **settings}
    done = CliRunner().invoke(main, arguments, prog_name="twinauth", env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
