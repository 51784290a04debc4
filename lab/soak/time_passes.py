"""Time for the rows of a database: what is older than a moment becomes older than everything that is kept.

Rows are kept for a week, a month or a year. Here the housekeeping has as much to do in minutes as elsewhere in a year.
"""

from __future__ import annotations

from sqlalchemy import Engine, text

KEEP = 30  # seconds for which rows stay as they are
AWAY = "INTERVAL '400 days'"

# A UUID of version 7 begins with the milliseconds since 1970, and sessions and events are found by it.
_FUNCTION = """
CREATE OR REPLACE FUNCTION aged(id uuid) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (lpad(to_hex(('x' || lpad(left(hex, 12), 16, '0'))::bit(64)::bigint - 400::bigint * 86400000), 12, '0')
          || substr(hex, 13))::uuid
  FROM (SELECT replace(id::text, '-', '') AS hex) AS found
$$
"""
_OLD = f"now() - INTERVAL '{KEEP} seconds'"
_RECENT = "now() - INTERVAL '100 days'"
_STATEMENTS = (
    (
        f"UPDATE sessions SET id = aged(id), expires_at = expires_at - {AWAY} "
        f"WHERE ended_at < {_OLD} AND expires_at > {_RECENT}"
    ),
    f"UPDATE audit_events SET id = aged(id), at = at - {AWAY} WHERE at < {_OLD} AND at > {_RECENT}",
    f"UPDATE outbox SET sent_at = sent_at - {AWAY} WHERE sent_at < {_OLD} AND sent_at > {_RECENT}",
    f"UPDATE email_tokens SET expires_at = expires_at - {AWAY} WHERE created_at < {_OLD} AND expires_at > {_RECENT}",
    f"UPDATE throttle_counters SET expires_at = expires_at - {AWAY} WHERE at < {_OLD} AND expires_at > {_RECENT}",
    (
        f"UPDATE revocations SET expires_at = expires_at - {AWAY} "
        f"WHERE expires_at < {_OLD} + INTERVAL '1 hour' AND expires_at > {_RECENT}"
    ),
)


def prepare(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(_FUNCTION))


def pass_by(engine: Engine) -> int:
    """Age what is old enough; how many rows that were."""
    total = 0
    for statement in _STATEMENTS:
        with engine.begin() as connection:
            total += connection.execute(text(statement)).rowcount
    return total
