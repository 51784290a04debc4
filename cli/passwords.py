"""``twinauth passwords``: the passwords that nobody may choose."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import click

from cli.messages import exit_with_message, settings
from core.authentication.passwords.fingerprints import write
from core.authentication.passwords.leaked_list import HashSpool, hashes_of

PROGRESS = 1_000_000  # lines


@click.group()
def passwords() -> None:
    """Import lists of leaked passwords."""


@passwords.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--min-count", type=click.IntRange(min=0), default=0, help="Leave out what was seen less often.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to make; by default that of AUTH_PASSWORD_BREACHED.",
)
def import_list(file: BinaryIO, min_count: int, output: Path | None) -> None:
    """Make the file of AUTH_PASSWORD_BREACHED from a list of leaked passwords.

    FILE has a line for each password, SHA1:COUNT or SHA1, as "Have I Been Pwned" publishes them, in any order; - is
    standard input. An earlier file is replaced when the new one is whole. Services use it from their next start.
    """
    with exit_with_message():
        path = output or settings().passwords.breached
        if path is None:
            raise click.UsageError("say where to: --output PATH, or AUTH_PASSWORD_BREACHED")
        count = _import(file, path, min_count)
    click.echo(f"{count} fingerprints in {path}")


def _import(file: BinaryIO, path: Path, min_count: int) -> int:
    # Beside the target, because only on one file system can it be replaced in one step.
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        spool = HashSpool(Path(folder))
        spool.add(found for found in _with_progress(hashes_of(file, min_count=min_count)) if found is not None)
        made = Path(folder) / "made"
        count = write(made, spool)
        made.replace(path)
    return count


def _with_progress(lines: Iterable[int | None]) -> Iterator[int | None]:
    """Count the lines on a terminal."""
    is_shown = sys.stderr.isatty()
    number = 0
    for number, line in enumerate(lines, start=1):
        if is_shown and number % PROGRESS == 0:
            click.echo(f"\r{number // PROGRESS} million lines", err=True, nl=False)
        yield line
    if is_shown and number >= PROGRESS:
        click.echo(err=True)
