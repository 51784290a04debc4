"""Accounts that were never verified, in SQL: whether anybody uses them."""

import uuid
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, false, null, or_, select, true, update

from core.audit.model import EventKind
from core.audit.sql import audit_events
from core.clock import first_id
from core.sessions.sql import sessions
from core.users.sql import users


class SqlUnverifiedAccounts:
    """The `UnverifiedAccounts` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def enrol(self, *, review_at: datetime, limit: int) -> None:
        new = self._locked(users.c.review_at.is_(null()), limit=limit)
        if new:
            self.postpone(new, until=review_at)

    def due(self, *, now: datetime, limit: int) -> list[uuid.UUID]:
        return self._locked(users.c.review_at <= now, users.c.is_active == true(), limit=limit)

    def unused(self, user_ids: Collection[uuid.UUID], *, since: datetime, now: datetime) -> list[uuid.UUID]:
        is_live = and_(sessions.c.ended_at.is_(null()), sessions.c.expires_at > now, sessions.c.idle_expires_at > now)
        has_session = exists().where(sessions.c.user_id == users.c.id, or_(is_live, sessions.c.last_used_at >= since))
        # Sessions that have ended may be deleted before that.
        has_login = exists().where(
            audit_events.c.user_id == users.c.id,
            audit_events.c.id >= first_id(since),
            audit_events.c.kind == EventKind.LOGGED_IN.value,
        )
        unused = select(users.c.id).where(
            users.c.id.in_(user_ids), users.c.created_at < since, ~has_session, ~has_login
        )
        return list(self._connection.scalars(unused))

    def postpone(self, user_ids: Collection[uuid.UUID], *, until: datetime) -> None:
        self._connection.execute(update(users).where(users.c.id.in_(user_ids)).values(review_at=until))

    def _locked(self, *conditions: ColumnElement[bool], limit: int) -> list[uuid.UUID]:
        found = (
            select(users.c.id)
            .where(users.c.email_verified == false(), users.c.deleted_at.is_(null()), *conditions)
            .limit(limit)
        )
        return list(self._connection.scalars(found.with_for_update(skip_locked=True)))
