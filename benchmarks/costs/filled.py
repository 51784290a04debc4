"""A database as after years of use: filled by SQL in the real schema, with rows in order of time."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"
)

# Rows of each table for a user. Only the bytes of a row matter here; the model in `sizing` has its own numbers.
SHARES = {
    "users": 1.0,
    "sessions": 2.0,
    "audit_events": 4.0,
    "throttle_counters": 2.0,
    "email_tokens": 0.2,
    "outbox": 0.2,
}

_HELPERS = (
    # A UUID version 7 of a time; its random bits come from the hash of a text.
    """
    CREATE FUNCTION pg_temp.id_of(at timestamptz, salt text) RETURNS uuid LANGUAGE sql AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(salt), 1, 3)
            || '9' || substr(md5(salt), 4, 15))::uuid
    $$""",
    # The rows to make: evenly spread over a time until now, each of a random user.
    """
    CREATE FUNCTION pg_temp.moments(rows int, users int, long interval)
        RETURNS TABLE (n int, at timestamptz, user_number int) LANGUAGE sql AS $$
        SELECT n, now() - long * (1 - n::float / rows), 1 + floor(random() * users)::int FROM generate_series(1, rows) n
    $$""",
)
_NUMBERED = """
    CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
        SELECT id AS user_id, row_number() OVER (ORDER BY id)::int AS user_number FROM users"""
_FILL = {
    "users": """
        INSERT INTO users SELECT pg_temp.id_of(at, 'u' || n), name, name, true, :password_hash, 'Ann Example', '[]',
            true, at, at
        FROM (SELECT n, at, substr(md5('user' || n), 1, 12) || '@example.com' AS name
            FROM pg_temp.moments(:rows, :users, '3 years')) made""",
    "sessions": """
        INSERT INTO sessions SELECT pg_temp.id_of(at, 's' || n), user_id, decode(md5('seed' || n), 'hex'), 3, at, used,
            used + interval '30 days', at + interval '90 days', NULL, NULL, :user_agent, '198.51.100.7'
        FROM (SELECT *, now() - random() * interval '1 day' AS used FROM pg_temp.moments(:rows, :users, '89 days')) made
        JOIN numbered USING (user_number) ORDER BY n""",
    "audit_events": """
        INSERT INTO audit_events SELECT pg_temp.id_of(at, 'a' || n), at, 'logged_in', user_id, gen_random_uuid(),
            '198.51.100.7', md5('request' || n)
        FROM pg_temp.moments(:rows, :users, '365 days') made JOIN numbered USING (user_number) ORDER BY n""",
    "throttle_counters": """
        INSERT INTO throttle_counters SELECT md5('a' || n) || md5('b' || n), 0, at, NULL, at + interval '90 days',
            at + interval '90 days'
        FROM pg_temp.moments(:rows, :users, '90 days') made""",
    "email_tokens": """
        INSERT INTO email_tokens SELECT pg_temp.id_of(at, 't' || n), user_id, 'email_verification',
            decode(md5('x' || n) || md5('y' || n), 'hex'), 'ann.example@example.com', at, at + interval '1 day',
            at + interval '1 hour'
        FROM pg_temp.moments(:rows, :users, '31 days') made JOIN numbered USING (user_number) ORDER BY n""",
    "outbox": """
        INSERT INTO outbox SELECT pg_temp.id_of(at, 'o' || n), 'email_verification', user_id, NULL, NULL, 'en', '{}',
            '', at, NULL, 1, at, at
        FROM pg_temp.moments(:rows, :users, '1 day') made JOIN numbered USING (user_number) ORDER BY n""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """What a table takes on disk."""

    rows: int
    heap: float
    """Bytes of a row."""
    indexes: float
    """Bytes of a row in all indexes."""
    levels: dict[str, int | None]
    """Pages from the root of an index to a leaf, by name."""

    @property
    def row(self) -> float:
        """Bytes of a row with its part of the indexes."""
        return self.heap + self.indexes


def fill(engine: Engine, users: int, password_hash: str) -> None:
    """Insert the rows of this number of users, who all have the same password."""
    with engine.begin() as connection:
        for helper in _HELPERS:
            connection.exec_driver_sql(helper)
        for table, statement in _FILL.items():
            values: dict[str, int | str] = {"rows": int(users * SHARES[table]), "users": users}
            values |= {"password_hash": password_hash} if table == "users" else {}
            values |= {"user_agent": USER_AGENT} if table == "sessions" else {}
            connection.execute(text(statement), values)
            if table == "users":
                connection.exec_driver_sql(_NUMBERED)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (ANALYZE)")


def sizes(engine: Engine) -> dict[str, TableSize]:
    """Measure every table that was filled."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        has_pageinspect = _create_pageinspect(connection)
        return {table: _size(connection, table, has_pageinspect=has_pageinspect) for table in _FILL}


def _create_pageinspect(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pageinspect")
    except DBAPIError:
        return False  # the server has no contributed modules
    return True


def _size(connection: Connection, table: str, *, has_pageinspect: bool) -> TableSize:
    measured = text(
        "SELECT pg_table_size(CAST(:name AS text)::regclass), pg_indexes_size(CAST(:name AS text)::regclass)"
    )
    heap, indexes = connection.execute(measured, {"name": table}).one()
    rows = round(connection.scalar(text("SELECT reltuples FROM pg_class WHERE relname = :name"), {"name": table}) or 0)
    names = connection.scalars(text("SELECT indexname FROM pg_indexes WHERE tablename = :name"), {"name": table}).all()
    levels: dict[str, int | None] = dict.fromkeys(names)
    if has_pageinspect:
        for name in names:
            levels[name] = 1 + (connection.scalar(text("SELECT level FROM bt_metap(:name)"), {"name": name}) or 0)
    return TableSize(rows=rows, heap=heap / rows, indexes=indexes / rows, levels=levels)
