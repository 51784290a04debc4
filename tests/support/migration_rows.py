"""Rows that a database may hold at each revision, in the shape that the tables had then.

A new revision adds its own entry, and where it changes what older rows look like, says so in `AT_HEAD`. The tables
are written out here and not taken from the code, which only knows those of today.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Engine, String, Uuid, column, insert, table
from sqlalchemy.sql import TableClause

from core.storage.schema import UtcDateTime

Row = Mapping[str, Any]

ANN = uuid.UUID("019aa5a0-0000-7000-8000-000000000001")
BOB = uuid.UUID("019aa5a0-0000-7000-8000-000000000002")
CAROL = uuid.UUID("019aa5a0-0000-7000-8000-000000000003")
LAPTOP = uuid.UUID("019aa5a0-0000-7000-8000-00000000000a")
PHONE = uuid.UUID("019aa5a0-0000-7000-8000-00000000000b")
EVENT = uuid.UUID("019aa5a0-0000-7000-8000-00000000000c")
ANONYMOUS_EVENT = uuid.UUID("019aa5a0-0000-7000-8000-00000000000d")
WAITING = uuid.UUID("019aa5a0-0000-7000-8000-000000000010")
FOR_AN_ADDRESS = uuid.UUID("019aa5a0-0000-7000-8000-000000000011")
SENT = uuid.UUID("019aa5a0-0000-7000-8000-000000000012")
DEAD = uuid.UUID("019aa5a0-0000-7000-8000-000000000013")

THEN = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
LATER = datetime(2027, 2, 19, 9, 30, 0, 1, tzinfo=UTC)

_TYPES: dict[str, Any] = {
    "id": Uuid(),
    "user_id": Uuid(),
    "session_id": Uuid(),
    "kept_session_id": Uuid(),
    "erased_until": Uuid(),
    "roles": JSON(),
    "public_jwk": JSON(),
    "scopes": JSON(none_as_null=True),
    "audiences": JSON(none_as_null=True),
    "amr": JSON(none_as_null=True),
    "pending": JSON(none_as_null=True),
    "facts": JSON(),
    **dict.fromkeys(
        (
            "created_at",
            "updated_at",
            "last_used_at",
            "idle_expires_at",
            "expires_at",
            "ended_at",
            "activates_at",
            "auth_time",
            "familiar_until",
            "since",
            "not_before",
            "at",
            "due_at",
            "prepared_at",
            "deleted_at",
            "sessions_ended_at",
            "sent_at",
            "dead_at",
        ),
        UtcDateTime(),
    ),
}


# The id of a client is a text.
_TYPES_OF: dict[str, dict[str, Any]] = {"clients": {"id": String()}}


def shape(name: str, rows: Sequence[Row]) -> TableClause:
    """A table with the columns of these rows."""
    types = _TYPES | _TYPES_OF.get(name, {})
    return table(name, *(column(found, types.get(found)) for found in rows[0]))


_USERS: Sequence[Row] = (
    {
        "id": ANN,
        "email": "Ann@exämple.com",
        "canonical_email": "ann@xn--exmple-cua.com",
        "email_verified": True,
        "password_hash": "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
        "display_name": "Ann \N{FOX FACE}",
        "roles": ["admin", "späher"],
        "is_active": True,
        "created_at": THEN,
        "updated_at": LATER,
    },
    {
        "id": BOB,
        "email": "bob@example.com",
        "canonical_email": "bob@example.com",
        "email_verified": False,
        "password_hash": "x" * 512,
        "display_name": None,
        "roles": [],
        "is_active": False,
        "created_at": THEN,
        "updated_at": THEN,
    },
)

_SESSIONS: Sequence[Row] = (
    {
        "id": LAPTOP,
        "user_id": ANN,
        "seed": bytes(range(16)),
        "generation": 2**48 - 1,
        "created_at": THEN,
        "last_used_at": THEN,
        "idle_expires_at": LATER,
        "expires_at": LATER,
        "ended_at": None,
        "end_reason": None,
        "user_agent": "Mozilla/5.0 (Ünïx)",
        "ip": "2001:db8::7",
    },
    {
        "id": PHONE,
        "user_id": BOB,
        "seed": bytes(16),
        "generation": 0,
        "created_at": THEN,
        "last_used_at": THEN,
        "idle_expires_at": LATER,
        "expires_at": LATER,
        "ended_at": LATER,
        "end_reason": "refresh_token_reused",
        "user_agent": "",
        "ip": "",
    },
)

_SESSIONS_THAT_WERE_ASKED_FOR: Sequence[Row] = (
    {
        **_SESSIONS[0],
        "scopes": ["orders:read"],
        "audience": "https://orders.example.com",
        "auth_time": LATER,
        "amr": ["pwd", "otp"],
    },
    {**_SESSIONS[1], "scopes": None, "audience": None, "auth_time": None, "amr": None},
)

_SIGNING_KEYS: Sequence[Row] = (
    {
        "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
        "number": 1,
        "algorithm": "ES256",
        "public_jwk": {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"},
        "sealed_private_key": bytes(range(256)),
        "created_at": THEN,
        "activates_at": LATER,
    },
)

_AUDIT_EVENTS: Sequence[Row] = (
    {
        "id": EVENT,
        "at": THEN,
        "kind": "logged_in",
        "user_id": ANN,
        "session_id": LAPTOP,
        "ip": "2001:db8::7",
        "request_id": "a-request",
    },
    {
        "id": ANONYMOUS_EVENT,
        "at": LATER,
        "kind": "login_failed",
        "user_id": None,
        "session_id": None,
        "ip": "",
        "request_id": "",
    },
)

_AUDIT_EVENTS_WITH_SUBJECT: Sequence[Row] = (
    {**_AUDIT_EVENTS[0], "subject": None},
    {**_AUDIT_EVENTS[1], "kind": "client_refused", "subject": "twc_1"},
)

_CLIENTS: Sequence[Row] = (
    {
        "id": "twc_1",
        "name": "Orders",
        "scopes": ["orders:read", "orders:write"],
        "is_active": True,
        "created_at": THEN,
        "last_used_at": LATER,
    },
    {"id": "twc_2", "name": "x" * 100, "scopes": [], "is_active": False, "created_at": THEN, "last_used_at": None},
)

_CLIENTS_WITH_AUDIENCES: Sequence[Row] = (
    {**_CLIENTS[0], "audiences": ["https://orders.example.com"]},
    {**_CLIENTS[1], "audiences": None},
)

_CLIENT_SECRETS: Sequence[Row] = (
    {"digest": b"\x00" * 32, "client_id": "twc_1", "created_at": THEN, "expires_at": None},
    {"digest": b"\xff" * 32, "client_id": "twc_1", "created_at": THEN, "expires_at": LATER},
)

_REVOCATIONS: Sequence[Row] = (
    {
        "id": EVENT,
        "number": 1,
        "kind": "session",
        "value_hash": "a" * 43,
        "not_before": None,
        "expires_at": LATER,
    },
    {
        "id": ANONYMOUS_EVENT,
        "number": None,
        "kind": "subject",
        "value_hash": "b" * 43,
        "not_before": THEN,
        "expires_at": LATER,
    },
)

_OUTBOX: Sequence[Row] = (
    {
        "id": WAITING,
        "kind": "email_change",
        "user_id": ANN,
        "canonical_email": None,
        "address": "Anna@exämple.com",
        "languages": "de-AT, de;q=0.9, *;q=0.1",
        "facts": {"ip": "2001:db8::7", "request_id": "Größe"},
        "seed": bytes(range(16)),
        "created_at": THEN,
        "due_at": LATER,
        "attempts": 3,
        "prepared_at": THEN,
        "sent_at": None,
        "dead_at": None,
        "last_error": "recipient refused: 450",
    },
    {
        "id": FOR_AN_ADDRESS,
        "kind": "password_reset",
        "user_id": None,
        "canonical_email": "x" * 330,
        "address": None,
        "languages": "x" * 100,
        "facts": {"ip": "", "request_id": ""},
        "seed": bytes(16),
        "created_at": THEN,
        "due_at": THEN,
        "attempts": 0,
        "prepared_at": None,
        "sent_at": None,
        "dead_at": None,
        "last_error": None,
    },
    {
        "id": SENT,
        "kind": "email_verification",
        "user_id": ANN,
        "canonical_email": None,
        "address": None,
        "languages": "",
        "facts": {},
        "seed": b"",
        "created_at": THEN,
        "due_at": None,
        "attempts": 1,
        "prepared_at": THEN,
        "sent_at": LATER,
        "dead_at": None,
        "last_error": None,
    },
    {
        "id": DEAD,
        "kind": "session_ended",
        "user_id": BOB,
        "canonical_email": None,
        "address": "x" * 254,
        "languages": "",
        "facts": {"ip": "192.0.2.7", "request_id": "a-request"},
        "seed": b"\xff" * 16,
        "created_at": THEN,
        "due_at": None,
        "attempts": 12,
        "prepared_at": THEN,
        "sent_at": None,
        "dead_at": LATER,
        "last_error": "x" * 200,
    },
)

_EMAIL_TOKENS: Sequence[Row] = (
    {
        "id": WAITING,
        "user_id": ANN,
        "purpose": "email_change",
        "digest": bytes(range(32)),
        "address": "Anna@exämple.com",
        "created_at": THEN,
        "expires_at": LATER,
        "ended_at": None,
    },
    {
        "id": SENT,
        "user_id": ANN,
        "purpose": "email_verification",
        "digest": b"\xff" * 32,
        "address": "Ann@exämple.com",
        "created_at": THEN,
        "expires_at": LATER,
        "ended_at": THEN,
    },
)

_THROTTLE_COUNTERS: Sequence[Row] = (
    {"key": "0" * 64, "count": 2**31 - 1, "at": THEN, "since": None, "familiar_until": None, "expires_at": LATER},
    {"key": "f" * 64, "count": 0, "at": THEN, "since": THEN, "familiar_until": LATER, "expires_at": LATER},
)
_DEVICES: Sequence[Row] = (
    {
        "id": uuid.UUID(int=31),
        "user_id": _USERS[0]["id"],
        "session_id": None,
        "created_at": THEN,
        "last_used_at": THEN,
        "expires_at": LATER,
    },
)
_THROTTLE_COUNTERS_WITH_PENDING: Sequence[Row] = (
    {**_THROTTLE_COUNTERS[0], "pending": None},
    {**_THROTTLE_COUNTERS[1], "pending": [1_764_550_000_123_456, 1_764_550_000_123_457]},
)

_NO_LEFTOVERS: Row = dict.fromkeys(
    ("deleted_at", "erased_until", "sessions_ended_at", "sessions_end_reason", "kept_session_id")
)
_USERS_AND_ONE_DELETED: Sequence[Row] = (
    *({**row, **_NO_LEFTOVERS} for row in _USERS),
    {
        "id": CAROL,
        "email": "",
        "canonical_email": f"deleted {CAROL}",
        "email_verified": False,
        "password_hash": "",
        "display_name": None,
        "roles": [],
        "is_active": False,
        "created_at": THEN,
        "updated_at": THEN,
        "deleted_at": LATER,
        "erased_until": EVENT,
        "sessions_ended_at": THEN,
        "sessions_end_reason": "password_reset",
        "kept_session_id": PHONE,
    },
)

# Since revision 0008: one that was used, and one that was revoked.
_EMAIL_TOKENS_THAT_WERE_USED: Sequence[Row] = tuple(
    {**row, "used_at": used_at} for row, used_at in zip(_EMAIL_TOKENS, (None, THEN), strict=True)
)

# Since revision 0008: one that was verified, and one that is looked at again.
_USERS_IN_REVIEW: Sequence[Row] = tuple(
    {**row, "review_at": review_at} for row, review_at in zip(_USERS_AND_ONE_DELETED, (None, LATER, None), strict=True)
)

# For each revision, what is inserted there: tables in an order that their foreign keys allow.
ROWS: dict[str, dict[str, Sequence[Row]]] = {
    "0001": {
        "users": _USERS,
        "sessions": _SESSIONS,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS,
    },
    "0002": {
        "users": _USERS,
        "sessions": _SESSIONS,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS,
        "clients": _CLIENTS,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
    },
    "0003": {
        "users": _USERS,
        "sessions": _SESSIONS,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS,
        "clients": _CLIENTS,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS,
    },
    "0004": {
        "users": _USERS,
        "sessions": _SESSIONS,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS,
        "clients": _CLIENTS,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS,
        "throttle_counters": _THROTTLE_COUNTERS,
    },
    "0005": {
        "users": _USERS,
        "sessions": _SESSIONS,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS_WITH_SUBJECT,
        "clients": _CLIENTS,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS,
        "throttle_counters": _THROTTLE_COUNTERS,
    },
    "0006": {
        "users": _USERS,
        "sessions": _SESSIONS_THAT_WERE_ASKED_FOR,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS_WITH_SUBJECT,
        "clients": _CLIENTS_WITH_AUDIENCES,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS,
        "throttle_counters": _THROTTLE_COUNTERS,
    },
    "0007": {
        "users": _USERS_AND_ONE_DELETED,
        "sessions": _SESSIONS_THAT_WERE_ASKED_FOR,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS_WITH_SUBJECT,
        "clients": _CLIENTS_WITH_AUDIENCES,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS,
        "throttle_counters": _THROTTLE_COUNTERS,
    },
    "0008": {
        "users": _USERS_IN_REVIEW,
        "sessions": _SESSIONS_THAT_WERE_ASKED_FOR,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS_WITH_SUBJECT,
        "clients": _CLIENTS_WITH_AUDIENCES,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS_THAT_WERE_USED,
        "throttle_counters": _THROTTLE_COUNTERS,
    },
    "0009": {
        "users": _USERS_IN_REVIEW,
        "sessions": _SESSIONS_THAT_WERE_ASKED_FOR,
        "devices": _DEVICES,
        "signing_keys": _SIGNING_KEYS,
        "audit_events": _AUDIT_EVENTS_WITH_SUBJECT,
        "clients": _CLIENTS_WITH_AUDIENCES,
        "client_secrets": _CLIENT_SECRETS,
        "revocations": _REVOCATIONS,
        "outbox": _OUTBOX,
        "email_tokens": _EMAIL_TOKENS_THAT_WERE_USED,
        "throttle_counters": _THROTTLE_COUNTERS_WITH_PENDING,
    },
}

# What became of them at the head, where that is not just what was inserted: by revision and table.
AT_HEAD: dict[str, dict[str, Sequence[Row]]] = {}


def insert_rows(engine: Engine, revision: str) -> None:
    """Insert the rows of a revision, with the columns that it has."""
    with engine.begin() as connection:
        for name, rows in ROWS[revision].items():
            connection.execute(insert(shape(name, rows)), [dict(row) for row in rows])
