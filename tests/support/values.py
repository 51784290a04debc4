"""Things to store, each whole and plausible, and what a store holds."""

from __future__ import annotations

import os
import uuid
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from core.audit.model import AuditEvent, EventKind
from core.audit.sql import audit_events
from core.clock import new_id
from core.devices.model import Device
from core.mail.model import Message, MessageKind, OneTimeToken, Purpose
from core.mail.sql import outbox
from core.sessions.model import Session
from core.sql_store import SqlStore
from core.store import Store
from core.tokens.model import SigningKey
from core.users.model import Account, User

NOW = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
TICK = timedelta(microseconds=1)
HASH = "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"


def account(email: str = "ann@example.com", *, password_hash: str = HASH, **changes: Any) -> Account:
    user: dict[str, Any] = {
        "id": new_id(NOW),
        "email": email,
        "email_verified": False,
        "display_name": "Ann",
        "roles": (),
        "is_active": True,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Account(user=User(**user | changes), password_hash=password_hash)


def session(user_id: uuid.UUID, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "user_id": user_id,
        "seed": bytes(range(16)),
        "generation": 0,
        "created_at": NOW,
        "last_used_at": NOW,
        "idle_expires_at": NOW + timedelta(days=30),
        "expires_at": NOW + timedelta(days=90),
        "ended_at": None,
        "user_agent": "Mozilla/5.0",
        "ip": "192.0.2.7",
    }
    return Session(**values | changes)


def device(user_id: uuid.UUID, **changes: Any) -> Device:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "user_id": user_id,
        "session_id": None,
        "created_at": NOW,
        "last_used_at": NOW,
        "expires_at": NOW + timedelta(days=365),
    }
    return Device(**values | changes)


def key(number: int = 1, **changes: Any) -> SigningKey:
    values: dict[str, Any] = {
        "kid": f"kid-{number}",
        "number": number,
        "algorithm": "ES256",
        "public_jwk": {"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "kid": f"kid-{number}"},
        "sealed_private_key": bytes(range(256)),
        "created_at": NOW,
        "activates_at": NOW + timedelta(minutes=10),
    }
    return SigningKey(**values | changes)


def audit_event(kind: EventKind = EventKind.LOGGED_IN, **changes: Any) -> AuditEvent:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "at": NOW,
        "kind": kind,
        "user_id": uuid.uuid4(),
        "session_id": uuid.uuid4(),
        "ip": "2001:db8::7",
        "request_id": "a-request",
        "subject": "twc_1",
    }
    return AuditEvent(**values | changes)


def message(kind: MessageKind = MessageKind.PASSWORD_CHANGED, **changes: Any) -> Message:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "kind": kind,
        "user_id": None,
        "canonical_email": None,
        "address": None,
        "languages": "de-AT, de;q=0.9",
        "facts": {"ip": "192.0.2.7", "request_id": "a-request"},
        "seed": bytes(range(16)),
        "created_at": NOW,
        "due_at": NOW,
    }
    return Message(**values | changes)


def email_token(user_id: uuid.UUID, purpose: Purpose = Purpose.PASSWORD_RESET, **changes: Any) -> OneTimeToken:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "user_id": user_id,
        "purpose": purpose,
        "digest": os.urandom(32),
        "address": "ann@example.com",
        "created_at": NOW,
        "expires_at": NOW + timedelta(minutes=15),
    }
    return OneTimeToken(**values | changes)


def stored(store: Store, *values: Account | Session | Message | OneTimeToken) -> None:
    """Commit what is given; the address of an account is its own canonical form."""
    with store.begin() as work:
        for value in values:
            match value:
                case Account():
                    assert work.users.add(value, canonical_email=value.user.email), "the address is taken"
                case Session():
                    work.sessions.add(value)
                case Message():
                    work.outbox.add(value)
                case OneTimeToken():
                    work.one_time_tokens.save(value)
        work.commit()


def session_in(store: Store, session_id: uuid.UUID) -> Session:
    with store.reading() as read:
        found = read.sessions.with_user(session_id)
    assert found is not None
    return found[0]


def account_in(store: Store, user_id: uuid.UUID) -> Account:
    with store.reading() as read:
        found = read.users.by_id(user_id)
    assert found is not None
    return found


def events_in(store: SqlStore) -> list[AuditEvent]:
    """The audit log in the order of its ids; the port itself only ever adds."""
    with store.engine.connect() as connection:
        rows = connection.execute(select(audit_events).order_by(audit_events.c.id)).mappings().all()
    return [AuditEvent(**{**row, "kind": EventKind(row["kind"])}) for row in rows]


def messages_in(store: SqlStore) -> list[Message]:
    """Every message in the order of their ids, whomever they are for; the port gives those of a user."""
    columns = [outbox.c[field.name] for field in fields(Message)]
    with store.engine.connect() as connection:
        rows = connection.execute(select(*columns).order_by(outbox.c.id)).mappings().all()
    return [Message(**{**row, "kind": MessageKind(row["kind"])}) for row in rows]


def message_in(store: SqlStore, message_id: uuid.UUID) -> Message:
    (found,) = [found for found in messages_in(store) if found.id == message_id]
    return found


def tokens_of(store: Store, user_id: uuid.UUID) -> list[OneTimeToken]:
    with store.reading() as read:
        return read.one_time_tokens.of(user_id)
