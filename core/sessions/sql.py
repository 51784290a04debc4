"""Sessions in SQL."""

import uuid
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    RowMapping,
    Select,
    String,
    Table,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    exists,
    insert,
    not_,
    null,
    or_,
    select,
    text,
    true,
    update,
)

from core.clock import first_id
from core.sessions.model import EndedSessions, EndReason, Session
from core.storage.pages import page_of
from core.storage.schema import UtcDateTime, metadata
from core.users.model import User
from core.users.sql import USER_COLUMNS, user_of, users

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("seed", LargeBinary(16), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
    Column("idle_expires_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
    Column("end_reason", String(32), nullable=True),
    Column("user_agent", String(256), nullable=False),
    Column("ip", String(64), nullable=False),
    Column("scopes", JSON(none_as_null=True), nullable=True),
    Column("audience", String(255), nullable=True),
    Column("auth_time", UtcDateTime, nullable=True),
    Column("amr", JSON(none_as_null=True), nullable=True),
    Index(None, "user_id", "last_used_at"),
    Index(None, "user_id", "id"),
)


def _partial(name: str, *columns: Column[Any], where: str) -> None:
    Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


_NOT_ENDED = sessions.c.ended_at.is_(null())
# A login looks at the live sessions of its user: it took longer with each session that had ended.
_partial("ix_sessions_live", sessions.c.user_id, sessions.c.last_used_at, where="ended_at IS NULL")
_partial("ix_sessions_ended_at", sessions.c.ended_at, where="ended_at IS NOT NULL")

MOST_AT_ONCE = 500
"""Sessions that one statement ends: some milliseconds. By the highest limit a user has a thousand."""

_SESSION_COLUMNS = tuple(sessions.c[field.name] for field in fields(Session))
# Ended by the mark with its user, beside which its own row may not say so yet.
_IS_MARKED = and_(
    sessions.c.created_at < users.c.sessions_ended_at,
    or_(users.c.kept_session_id.is_(null()), sessions.c.id != users.c.kept_session_id),
)
_IS_UNMARKED = or_(users.c.sessions_ended_at.is_(null()), not_(_IS_MARKED))
_IS_ITS_USER = users.c.id == sessions.c.user_id
_MAY_GO_ON = and_(_NOT_ENDED, ~exists(select(users.c.id).where(_IS_ITS_USER, _IS_MARKED)))


def _unexpired(now: datetime | ColumnElement[datetime]) -> Any:
    return and_(sessions.c.expires_at > now, sessions.c.idle_expires_at > now)


def _live(now: datetime) -> Any:
    return and_(_MAY_GO_ON, _unexpired(now))


# The hot path, built once: building the expression took longer than running it (230 of 360 microseconds).
_PRINCIPAL = (
    select(*USER_COLUMNS)
    .join_from(sessions, users)
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.user_id == bindparam("user_id"),
        _NOT_ENDED,
        _IS_UNMARKED,
        _unexpired(bindparam("now", type_=UtcDateTime)),
        users.c.is_active == true(),
    )
)


def _session_of(row: RowMapping | dict[str, Any]) -> Session:
    reason, scopes, amr = row["end_reason"], row["scopes"], row["amr"]
    return Session(
        **{
            **row,
            "end_reason": None if reason is None else EndReason(reason),
            "scopes": None if scopes is None else tuple(scopes),
            "amr": None if amr is None else tuple(amr),
        }
    )


def _last_used(user_id: uuid.UUID, now: datetime) -> Select[Any]:
    """The live sessions of a user, the one used last first."""
    return (
        select(sessions.c.id)
        .where(sessions.c.user_id == user_id, _live(now))
        .order_by(sessions.c.last_used_at.desc(), sessions.c.id.desc())
    )


class SqlSessions:
    """The `Sessions` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_marked = False
        """Whether sessions are left to be noted as ended, so that the commit wakes the housekeeping."""

    def add(self, session: Session) -> None:
        self._connection.execute(
            insert(sessions).values(
                id=session.id,
                user_id=session.user_id,
                seed=session.seed,
                generation=session.generation,
                created_at=session.created_at,
                last_used_at=session.last_used_at,
                idle_expires_at=session.idle_expires_at,
                expires_at=session.expires_at,
                ended_at=session.ended_at,
                user_agent=session.user_agent,
                ip=session.ip,
                end_reason=session.end_reason,
                scopes=None if session.scopes is None else list(session.scopes),
                audience=session.audience,
                auth_time=session.auth_time,
                amr=None if session.amr is None else list(session.amr),
            )
        )

    def with_user(self, session_id: uuid.UUID) -> tuple[Session, User] | None:
        mark = case((and_(_NOT_ENDED, _IS_MARKED), users.c.sessions_ended_at))
        row = self._connection.execute(
            select(*_SESSION_COLUMNS, *USER_COLUMNS, mark).join_from(sessions, users).where(sessions.c.id == session_id)
        ).one_or_none()
        if row is None:
            return None
        split = len(_SESSION_COLUMNS)
        names = (column.name for column in _SESSION_COLUMNS)
        values = dict(zip(names, row[:split], strict=True))
        return _session_of({**values, "ended_at": values["ended_at"] or row[-1]}), user_of(row[split:])

    def principal(self, session_id: uuid.UUID, user_id: uuid.UUID, *, now: datetime) -> User | None:
        parameters = {"session_id": session_id, "user_id": user_id, "now": now}
        row = self._connection.execute(_PRINCIPAL, parameters).one_or_none()
        return None if row is None else user_of(row)

    def advance(self, session_id: uuid.UUID, *, generation: int, at: datetime, idle_expires_at: datetime) -> bool:
        result = self._connection.execute(
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.generation == generation, _MAY_GO_ON)
            .values(generation=generation + 1, last_used_at=at, idle_expires_at=idle_expires_at)
        )
        return result.rowcount == 1

    def end(self, session_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime, reason: EndReason) -> bool:
        is_own = and_(sessions.c.id == session_id, sessions.c.user_id == user_id)
        return bool(self._end(and_(is_own, _live(at)), at, reason))

    def end_all(
        self, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
    ) -> EndedSessions:
        live = _last_used(user_id, at)
        others = live if keep is None else live.where(sessions.c.id != keep)
        ended = self._end(sessions.c.id.in_(others.limit(MOST_AT_ONCE)), at, reason)
        if len(ended) < MOST_AT_ONCE:
            return EndedSessions(ids=ended, are_all=True)
        mark = {"sessions_ended_at": at, "sessions_end_reason": reason.value, "kept_session_id": keep}
        self._connection.execute(update(users).where(users.c.id == user_id).values(**mark))
        self.has_marked = True
        return EndedSessions(ids=ended, are_all=False)

    def end_marked(self, *, limit: int) -> int:
        mark = users.c.sessions_ended_at
        marked = (
            select(sessions.c.id)
            .join_from(sessions, users)
            .where(mark.is_not(null()), _NOT_ENDED, _IS_MARKED, _unexpired(mark))
            .limit(limit)
        )
        ended_at = select(mark).where(_IS_ITS_USER).scalar_subquery()
        reason = select(users.c.sessions_end_reason).where(_IS_ITS_USER).scalar_subquery()
        count = self._connection.execute(
            update(sessions).where(sessions.c.id.in_(marked)).values(ended_at=ended_at, end_reason=reason)
        ).rowcount
        if count < limit:
            self._unmark()
        return count

    def _unmark(self) -> None:
        mark = users.c.sessions_ended_at
        left = select(sessions.c.id).where(_IS_ITS_USER, _NOT_ENDED, _IS_MARKED, _unexpired(mark))
        no_mark = {"sessions_ended_at": None, "sessions_end_reason": None, "kept_session_id": None}
        self._connection.execute(update(users).where(mark.is_not(null()), ~exists(left)).values(**no_mark))

    def end_next(
        self, after: uuid.UUID | None, *, at: datetime, reason: EndReason, limit: int
    ) -> tuple[int, uuid.UUID | None]:
        # All ids in order, and not those of live sessions: to find these, each batch would read the whole table.
        behind = true() if after is None else sessions.c.id > after
        following = select(sessions.c.id).where(behind).order_by(sessions.c.id).limit(limit)
        ids = self._connection.scalars(following).all()
        return len(self._end(sessions.c.id.in_(ids), at, reason)) if ids else 0, ids[-1] if ids else None

    def end_surplus(self, user_id: uuid.UUID, *, limit: int, at: datetime) -> list[uuid.UUID]:
        surplus = _last_used(user_id, at).offset(limit).limit(MOST_AT_ONCE)
        return self._end(sessions.c.id.in_(surplus), at, EndReason.SESSION_LIMIT)

    def live_of(self, user_id: uuid.UUID, *, now: datetime) -> list[Session]:
        rows = self._connection.execute(
            select(*_SESSION_COLUMNS)
            .where(sessions.c.user_id == user_id, _live(now))
            .order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
        )
        return [_session_of(row) for row in rows.mappings()]

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Session]:
        page = page_of(select(*_SESSION_COLUMNS).where(sessions.c.user_id == user_id), sessions.c.id, after, limit)
        return [_session_of(row) for row in self._connection.execute(page).mappings()]

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        own = select(sessions.c.id).where(sessions.c.user_id == user_id).limit(limit)
        return self._connection.execute(delete(sessions).where(sessions.c.id.in_(own))).rowcount

    def purge(self, *, before: datetime, made_before: datetime, limit: int) -> int:
        ended = select(sessions.c.id).where(sessions.c.ended_at < before).limit(limit)
        count = self._connection.execute(delete(sessions).where(sessions.c.id.in_(ended))).rowcount
        # The ids, which grow with time, find the rows without an index that every refresh would have to update. With
        # the end as the only condition, each process read every live session each minute: 4 million of them took
        # longer than the statement timeout.
        expired = (
            select(sessions.c.id)
            .where(sessions.c.id < first_id(made_before), sessions.c.expires_at < before)
            .order_by(sessions.c.id)
            .limit(limit - count)
        )
        return count + self._connection.execute(delete(sessions).where(sessions.c.id.in_(expired))).rowcount

    def _end(self, condition: Any, at: datetime, reason: EndReason) -> list[uuid.UUID]:
        ended = self._connection.execute(
            update(sessions).where(condition).values(ended_at=at, end_reason=reason.value).returning(sessions.c.id)
        )
        return list(ended.scalars())
