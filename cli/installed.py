"""Which front doors are installed. Each is an extra of the package, so that neither brings the other's framework."""

from collections.abc import Iterable
from importlib.util import find_spec

import click

NAMES = {"fastapi": "FastAPI", "flask": "Flask"}
# What each door imports from the packages of its extra.
_NEEDS = {
    "fastapi": ("fastapi", "httptools", "python_multipart", "starlette", "uvicorn", "uvloop"),
    "flask": ("flask", "gunicorn"),
}


def require(frameworks: Iterable[str]) -> None:
    """Exit with one line that says how to install the doors that are missing."""
    asked = tuple(frameworks)
    missing = [name for name in asked if not _is_installed(name)]
    if not missing:
        return
    if not any(map(_is_installed, NAMES)):
        raise click.ClickException(f"no front door is installed: {' or '.join(map(_pip, asked))}")
    (absent,) = missing
    line = f"the {NAMES[absent]} door is not installed: {_pip(absent)}"
    others = [f"serve {NAMES[name]} alone with --framework {name}" for name in asked if name != absent]
    raise click.ClickException(", or ".join((line, *others)))


def _is_installed(framework: str) -> bool:
    return all(find_spec(module) is not None for module in _NEEDS[framework])


def _pip(framework: str) -> str:
    return f"pip install 'twinauth[{framework}]'"
