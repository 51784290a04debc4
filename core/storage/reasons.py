"""The reason why a database refuses, in one line for an operator: the server's own words."""

import sqlite3

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

_HINTS = {
    "42P07": "another application's tables are in the way; AUTH_DATABASE_SCHEMA names a schema of its own for these",
}
"""What to do, by the SQLSTATE: duplicate_table."""

_ALL_FAILURES = "All failures were:"  # of several addresses; before it psycopg says the last one, which follows again


def reason_of(error: BaseException) -> str:
    """Return what the server or its driver said, or else what the error says.

    It has no values of a statement: of a server's message the first line alone is taken, not its details. Passwords
    are in none of libpq's messages.
    """
    raised = error
    while not isinstance(raised, DBAPIError | PoolTimeoutError) and raised.__cause__ is not None:
        raised = raised.__cause__
    if isinstance(raised, PoolTimeoutError):
        return "every connection was in use (AUTH_DATABASE_POOL_SIZE)"
    if isinstance(raised, DBAPIError) and raised.orig is not None:
        raised = raised.orig
    return _line(raised)


def _line(raised: BaseException) -> str:
    said = str(raised)
    if isinstance(raised, psycopg.Error):
        said = raised.diag.message_primary or said.rpartition(_ALL_FAILURES)[2]
    if isinstance(raised, sqlite3.Error) and "already exists" in said:
        return f"{said}; it is another application's, and these need a file of their own"
    hint = _HINTS.get(getattr(raised, "sqlstate", None) or "")
    return "; ".join(part for part in (" ".join(said.split()), hint) if part)
