"""Errors that an operator can correct: one line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy.exc import DBAPIError

from core.errors import DatabaseUnavailable, InvalidInput, NotFound, NotReady
from core.mail.texts.editions import TextsError
from core.oauth.errors import InvalidScope
from core.settings.files import SettingsError
from core.settings.loading import load_settings
from core.settings.whole import Settings
from core.sql_store import SqlStore, open_store
from core.tokens.errors import KeyNumberTakenError, KeyRingLockedError


def settings() -> Settings:
    """Read the settings, or exit with one line that names the mistake."""
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def open_checked_store() -> Iterator[tuple[Settings, SqlStore]]:
    """Open the store, and check that it has the schema of this version."""
    found = settings()
    store = open_store(found.database.url.get_secret_value(), found.database)
    try:
        store.check()
        yield found, store
    finally:
        store.close()


_LINES: dict[type[Exception], str] = {
    DatabaseUnavailable: "the database cannot be reached; see AUTH_DATABASE_URL",
    NotReady: "the database needs its migrations: twinauth migrate",
    DBAPIError: "AUTH_DATABASE_URL leads to something that is no usable database",
    KeyRingLockedError: "AUTH_SECRET_KEY does not open the signing keys: they were stored under another secret",
    KeyNumberTakenError: "another process rotated the keys at the same moment",
    NotFound: "there is none with this id",
    InvalidScope: "a scope has 1 to 64 printable characters without blanks and quotes",
}


@contextmanager
def exit_with_message() -> Iterator[None]:
    """Turn errors that an operator can correct into one line."""
    try:
        yield
    except (SettingsError, TextsError) as error:
        raise click.ClickException(str(error)) from None
    except InvalidInput as error:
        raise click.ClickException("; ".join(found.message for found in error.errors)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'a file'}: {error.strerror}") from None
    except tuple(_LINES) as error:
        line = next(line for kind, line in _LINES.items() if isinstance(error, kind))
        raise click.ClickException(line) from None
