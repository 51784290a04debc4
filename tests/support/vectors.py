"""Public test vectors. They carry their own licences and are found next to the repository or where a variable says."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors"
FOLDER = Path(os.environ.get("AUTH_TEST_VECTORS") or _BESIDE).absolute()


def load(name: str) -> Any:
    """Read a file of vectors, or skip with one line that says where it was looked for."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no vectors at {path}; AUTH_TEST_VECTORS names their folder", allow_module_level=True)
    return json.loads(path.read_text())
