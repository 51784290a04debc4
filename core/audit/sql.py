"""The audit log in SQL."""

import uuid
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import (
    Column,
    Connection,
    Index,
    String,
    Table,
    Uuid,
    and_,
    case,
    delete,
    insert,
    null,
    or_,
    select,
    update,
)

from core.audit.model import LONGEST_REQUEST, AuditEvent, EventKind
from core.clock import first_id
from core.storage.pages import page_of
from core.storage.schema import UtcDateTime, metadata

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(32), nullable=False),
    # No foreign key: events outlive the account.
    Column("user_id", Uuid, nullable=True),
    Column("session_id", Uuid, nullable=True),
    Column("ip", String(64), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("subject", String(64), nullable=True),
    Index(None, "user_id", "id"),
)

Span: TypeAlias = tuple[datetime, datetime]
INSTANT = timedelta(milliseconds=1)  # the resolution of the time in an id
SPANS = 100  # in one statement


class SqlAuditLog:
    """The `AuditLog` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, event: AuditEvent) -> None:
        self._connection.execute(
            insert(audit_events).values(
                id=event.id,
                at=event.at,
                kind=event.kind.value,
                user_id=event.user_id,
                session_id=event.session_id,
                ip=event.ip,
                request_id=event.request_id,
                subject=event.subject,
            )
        )

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[AuditEvent]:
        page = page_of(select(audit_events).where(audit_events.c.user_id == user_id), audit_events.c.id, after, limit)
        rows = self._connection.execute(page).mappings()
        return [AuditEvent(**{**row, "kind": EventKind(row["kind"])}) for row in rows]

    def purge(self, *, before: datetime, limit: int) -> int:
        old = select(audit_events.c.id).where(audit_events.c.id < first_id(before)).limit(limit)
        return self._connection.execute(delete(audit_events).where(audit_events.c.id.in_(old))).rowcount

    def forget_addresses(self, user_id: uuid.UUID, *, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        columns = (audit_events.c.id, audit_events.c.at, audit_events.c.ip, audit_events.c.request_id)
        own = select(*columns).where(audit_events.c.user_id == user_id)
        events = self._connection.execute(page_of(own, audit_events.c.id, after, limit)).all()
        requests = [event for event in events if event.ip and event.request_id]
        self._forget_throttled(
            _merged([(event.at - LONGEST_REQUEST, event.at + INSTANT) for event in requests]),
            {(event.ip, event.request_id) for event in requests},
        )
        is_deletion = audit_events.c.kind == EventKind.ACCOUNT_DELETED.value
        request = case((is_deletion, audit_events.c.request_id), else_="")
        if events:
            erased = and_(
                audit_events.c.user_id == user_id,
                audit_events.c.id >= events[0].id,
                audit_events.c.id <= events[-1].id,
            )
            self._connection.execute(update(audit_events).where(erased).values(ip="", request_id=request))
        return [event.id for event in events]

    def _forget_throttled(self, spans: list[Span], requests: set[tuple[str, str]]) -> None:
        """Remove the address from the throttle's events of these requests, which name no user.

        Callers choose the ids of their requests. So the address must match too, and the time approximately: the
        deletion of one account must not erase the addresses of others.
        """
        for start in range(0, len(spans), SPANS):
            # Ids grow with time, so this reads half a minute for each request and needs no further index. The condition
            # on the user is repeated in each span: otherwise SQLite reads all such rows and compares each with every
            # span.
            has_no_user = audit_events.c.user_id.is_(null())
            nearby = [
                and_(has_no_user, audit_events.c.id > first_id(since), audit_events.c.id < first_id(until))
                for since, until in spans[start : start + SPANS]
            ]
            throttled = self._connection.execute(
                select(audit_events.c.id, audit_events.c.ip, audit_events.c.request_id).where(
                    audit_events.c.kind == EventKind.THROTTLED.value, or_(*nearby)
                )
            )
            found = [event_id for event_id, ip, request_id in throttled if (ip, request_id) in requests]
            if found:
                self._connection.execute(update(audit_events).where(audit_events.c.id.in_(found)).values(ip=""))


def _merged(spans: list[Span]) -> list[Span]:
    """Merge spans that overlap."""
    merged: list[Span] = []
    for since, until in sorted(spans):
        if merged and since <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(until, merged[-1][1])
        else:
            merged.append((since, until))
    return merged
