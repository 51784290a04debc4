"""The audit log in SQL."""

import uuid
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from core.audit import AuditEvent, EventKind
from core.clock import first_id
from core.repositories.tables import audit_events


class SqlAuditLog:
    """The `AuditLog` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, event: AuditEvent) -> None:
        """Append an event."""
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

    def of(self, user_id: uuid.UUID) -> list[AuditEvent]:
        """The events of a user, oldest first."""
        rows = self._connection.execute(
            select(audit_events).where(audit_events.c.user_id == user_id).order_by(audit_events.c.id)
        )
        return [AuditEvent(**{**row, "kind": EventKind(row["kind"])}) for row in rows.mappings()]

    def purge(self, *, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events from before then; their ids grow with time."""
        old = select(audit_events.c.id).where(audit_events.c.id < first_id(before)).limit(limit)
        return self._connection.execute(delete(audit_events).where(audit_events.c.id.in_(old))).rowcount

    def forget_addresses(self, user_id: uuid.UUID) -> None:
        """Remove the network addresses from the events of a user."""
        self._connection.execute(update(audit_events).where(audit_events.c.user_id == user_id).values(ip=""))
