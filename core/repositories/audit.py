"""The audit log in SQL."""

from sqlalchemy import Connection, insert

from core.audit import AuditEvent
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
            )
        )
