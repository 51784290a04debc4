"""Errors that an operator can correct: one line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError

from core.authentication.passwords.leaked_list import LeakedListError
from core.errors import DatabaseUnavailable, InvalidInput, NotFound, NotReady
from core.mail.texts.editions import TextsError
from core.settings.files import SettingsError
from core.settings.loading import load_settings
from core.settings.whole import Settings
from core.sql_store import SqlStore, open_store
from core.storage.reasons import reason_of
from core.storage.urls import place_of
from core.tokens.errors import (
    KeyNumberTakenError,
    KeysLocked,
    ScopeNotGranted,
    SecretInUseError,
    SecretMissingError,
)


def settings() -> Settings:
    """Read the settings, or exit with one line that names the mistake."""
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def open_checked_store() -> Iterator[tuple[Settings, SqlStore]]:
    """Open the store, and check that it has the schema of this version. Nothing is made."""
    found = settings()
    store = open_store(found.database.url.get_secret_value(), found.database)
    try:
        with database_named(found):
            store.check()
            yield found, store
    finally:
        store.close()


@contextmanager
def database_named(found: Settings) -> Iterator[None]:
    """Say in one line of which database an error speaks, and what the server said: never user and password."""
    try:
        yield
    except (DatabaseUnavailable, NotReady, DBAPIError) as error:
        needs = "; run twinauth migrate" if isinstance(error, NotReady) else ""
        raise click.ClickException(f"{place_in(found)}: {reason_of(error)}{needs}") from None


def place_in(found: Settings) -> str:
    """Name the database of the settings, and the variable that chooses it."""
    return f"database {place_of(found.database.url.get_secret_value())} (AUTH_DATABASE_URL)"


def say_none(found: Settings, what: str) -> None:
    """Say that a list is empty and of which database, on stderr: the folder or the settings may be the wrong ones."""
    click.echo(f"no {what} in {place_in(found)}", err=True)


_LINES: dict[type[Exception], str] = {
    KeysLocked: "AUTH_SECRET_KEY does not open the signing keys: they were stored under another secret",
    SecretMissingError: "the signing keys in the database were stored under a secret that is not here: put the file "
    "secret_key back into AUTH_DATA_DIR, or set AUTH_SECRET_KEY; if it is lost, set a new one and run twinauth secret "
    "replace",
    SecretInUseError: "AUTH_SECRET_KEY opens the signing keys, so it is the old one; set a new one, as openssl rand "
    "-base64 48 makes it",
    KeyNumberTakenError: "another process rotated the keys at the same moment; try again",
    NotFound: "there is none with this id",
    ScopeNotGranted: "a scope has 1 to 64 printable characters without blanks and quotes",
}


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn errors that an operator can correct into one line."""
    try:
        yield
    except (SettingsError, TextsError, LeakedListError) as error:
        raise click.ClickException(str(error)) from None
    except InvalidInput as error:
        raise click.ClickException("; ".join(found.message for found in error.errors)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'a file'}: {error.strerror}") from None
    except tuple(_LINES) as error:
        line = next(line for kind, line in _LINES.items() if isinstance(error, kind))
        raise click.ClickException(line) from None
