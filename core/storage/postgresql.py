"""Connections to PostgreSQL, each set to what the service needs, whatever the server's own settings are."""

from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

from core.settings.groups import DatabaseSettings
from core.storage.deadlines import DeadlineConnection, require_time_to_connect
from core.storage.idle import KEEP_ALIVE, replace_lost

SCHEMA = "twinauth_schema"
"""Option of an engine: the name of the schema; empty for the server's default."""
IN_TRANSACTIONS = "twinauth_in_transactions"
"""Option of an engine: even a single read needs a transaction, which sets the schema."""


class UnusableDatabaseError(psycopg.OperationalError):
    """The database can be reached and will never do."""


def open_postgresql(url: URL, settings: DatabaseSettings) -> Engine:
    """Make the engine of a PostgreSQL database."""
    seconds = settings.timeout.total_seconds()
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=seconds,
        connect_args={
            **{name: value for name, value in KEEP_ALIVE.items() if name not in url.query},
            "client_encoding": "UTF8",
            # libpq counts in whole seconds and takes 1 for 2.
            "connect_timeout": max(2, round(seconds)),
            **({"prepare_threshold": None} if settings.pooler else {"options": _options(url, settings)}),
        },
        execution_options={SCHEMA: settings.namespace, IN_TRANSACTIONS: settings.pooler and bool(settings.namespace)},
        hide_parameters=True,
    )
    if settings.pooler:
        _set_up_each_transaction(engine, settings)
    _set_up_connections(engine, seconds)
    replace_lost(engine, seconds)
    return engine


def _set_up_connections(engine: Engine, seconds: float) -> None:
    """Use connections with a deadline, which each unit of work sets anew."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> DeadlineConnection:
        require_time_to_connect(seconds)
        connection = DeadlineConnection.connect(*arguments, **parameters)
        connection.timeout = seconds
        connection.add_notice_handler(connection.on_notice)
        _require_unicode(connection)
        _use_iso_dates(connection)
        return connection

    @event.listens_for(engine, "checkin")
    def forget_deadline(connection: DeadlineConnection | None, _record: Any) -> None:
        if connection is not None:  # None if it was invalidated
            connection.deadline = None


def _require_unicode(connection: DeadlineConnection) -> None:
    """Refuse a database that cannot hold every text, or does not know what its bytes mean.

    Raises:
        UnusableDatabaseError: its encoding is not UTF8.

    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        connection.close()
        raise UnusableDatabaseError(
            f"the encoding of the database is {encoding} and must be UTF8: "
            "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        )


def _use_iso_dates(connection: DeadlineConnection) -> None:
    """Set how dates are written, on a server or for a role where it is another way; the driver reads this one alone.

    PgBouncer, which refuses it as an option, sets it again on each server connection that it lends.
    """
    if not (connection.info.parameter_status("DateStyle") or "ISO").startswith("ISO"):
        connection.autocommit = True
        connection.execute("SET DateStyle = ISO", prepare=False)
        connection.autocommit = False


def _options(url: URL, settings: DatabaseSettings) -> str:
    """Set up the session at its start, without a round trip; options of the URL have precedence."""
    given = url.query.get("options", "")
    chosen = {**_limits(settings), "TimeZone": "UTC", **_search_path(settings)}
    ours = (f"-c {name}={value}" for name, value in chosen.items())
    return " ".join((*ours, given if isinstance(given, str) else " ".join(given))).strip()


def _limits(settings: DatabaseSettings) -> dict[str, object]:
    """Let the server end waits for a lock and statements that take too long.

    In milliseconds, a little below the client's own timeout, because the server's error is more precise.
    """
    milliseconds = round(settings.timeout.total_seconds() * 900)
    return {"lock_timeout": milliseconds, "statement_timeout": milliseconds}


def _search_path(settings: DatabaseSettings) -> dict[str, object]:
    """Look for tables in the schema alone: `public` may have another application's `users`."""
    return {"search_path": settings.namespace} if settings.namespace else {}


def _set_up_each_transaction(engine: Engine, settings: DatabaseSettings) -> None:
    """Set the same behind a pooler, which gives the connection to another client after the transaction.

    Options at its start are refused (PgBouncer refuses ``options``), session state would leak to the next client, and
    prepared statements belong to one server connection only.
    """
    chosen = {**_limits(settings), **_search_path(settings)}
    statements = "; ".join(f"SET LOCAL {name} = {value}" for name, value in chosen.items())

    @event.listens_for(engine, "begin")
    def set_up(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(statements)
