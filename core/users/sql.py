"""Accounts in SQL."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Index,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    and_,
    case,
    delete,
    false,
    null,
    select,
    text,
    true,
    update,
)

from core.storage.engine import database_errors
from core.storage.schema import UtcDateTime, metadata
from core.storage.upsert import upsert
from core.users.errors import EmailTaken
from core.users.model import NO_PASSWORD, Account, DeletedAccount, User

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", String(254), nullable=False),
    Column("canonical_email", String(330), nullable=False),
    Column("email_verified", Boolean, nullable=False),
    Column("password_hash", String(512), nullable=False),
    Column("display_name", String(100), nullable=True),
    Column("roles", JSON, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # Of an account that was deleted, and whose rows in other tables the housekeeping deletes.
    Column("deleted_at", UtcDateTime, nullable=True),
    Column("erased_until", Uuid, nullable=True),
    # Of an account with very many sessions: those begun before have ended, except one, and the housekeeping says so in
    # their rows.
    Column("sessions_ended_at", UtcDateTime, nullable=True),
    Column("sessions_end_reason", String(32), nullable=True),
    Column("kept_session_id", Uuid, nullable=True),
    # When housekeeping looks next whether anybody uses an account that was never verified.
    Column("review_at", UtcDateTime, nullable=True),
    UniqueConstraint("canonical_email"),
)
Index(
    "ix_users_deleted_at",
    users.c.deleted_at,
    postgresql_where=text("deleted_at IS NOT NULL"),
    sqlite_where=text("deleted_at IS NOT NULL"),
)
Index(
    "ix_users_sessions_ended_at",
    users.c.sessions_ended_at,
    postgresql_where=text("sessions_ended_at IS NOT NULL"),
    sqlite_where=text("sessions_ended_at IS NOT NULL"),
)

_IS_THERE = users.c.deleted_at.is_(null())
Index(
    "ix_users_unverified",
    users.c.review_at,
    postgresql_where=users.c.email_verified == false(),
    sqlite_where=users.c.email_verified == false(),
)

_REFUSALS = {"uq_users_canonical_email": EmailTaken}

USER_COLUMNS = (
    users.c.id,
    users.c.email,
    users.c.email_verified,
    users.c.display_name,
    users.c.roles,
    users.c.is_active,
    users.c.created_at,
    users.c.updated_at,
)


def user_of(row: Sequence[Any]) -> User:
    """Make a user from the values of `USER_COLUMNS`, by position and not by name as elsewhere.

    By name it took 15 of the 90 microseconds in which whoami reads a user.
    """
    return User(
        id=row[0],
        email=row[1],
        email_verified=row[2],
        display_name=row[3],
        roles=tuple(row[4]),
        is_active=row[5],
        created_at=row[6],
        updated_at=row[7],
    )


class SqlUsers:
    """The `Users` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.has_deleted = False
        """Whether an account was deleted, so that the commit wakes the housekeeping."""

    def add(self, account: Account, *, canonical_email: str) -> bool:
        user = account.user
        added = self._connection.execute(
            upsert(self._connection, users)
            .values(
                id=user.id,
                email=user.email,
                canonical_email=canonical_email,
                email_verified=user.email_verified,
                password_hash=account.password_hash,
                display_name=user.display_name,
                roles=list(user.roles),
                is_active=user.is_active,
                created_at=user.created_at,
                updated_at=user.updated_at,
            )
            .on_conflict_do_nothing(index_elements=[users.c.canonical_email])
            .returning(users.c.id)
        )
        return added.one_or_none() is not None

    def by_email(self, canonical_email: str) -> Account | None:
        return self._account(users.c.canonical_email == canonical_email)

    def by_id(self, user_id: uuid.UUID) -> Account | None:
        return self._account(and_(users.c.id == user_id, _IS_THERE))

    def lock_credentials(self, user_id: uuid.UUID, password_hash: str) -> User | None:
        # FOR NO KEY UPDATE waits for a password change in progress and then checks the hash again; the FOR KEY SHARE
        # that the foreign key of the new session takes would not. It also serialises the logins of one user, so that
        # two at once cannot exceed the limit of sessions.
        row = self._connection.execute(
            select(*USER_COLUMNS)
            .where(users.c.id == user_id, users.c.password_hash == password_hash, users.c.is_active == true())
            .with_for_update(key_share=True)
        ).one_or_none()
        return None if row is None else user_of(row)

    def lock(self, user_id: uuid.UUID) -> User | None:
        row = self._connection.execute(
            select(*USER_COLUMNS).where(users.c.id == user_id, _IS_THERE).with_for_update(key_share=True)
        ).one_or_none()
        return None if row is None else user_of(row)

    def replace_password(self, user_id: uuid.UUID, *, old_hash: str, new_hash: str, at: datetime) -> bool:
        result = self._connection.execute(
            update(users)
            .where(users.c.id == user_id, users.c.password_hash == old_hash)
            .values(password_hash=new_hash, updated_at=at)
        )
        return result.rowcount == 1

    def set_display_name(self, user_id: uuid.UUID, display_name: str | None, *, at: datetime) -> User | None:
        return self._change(user_id, display_name=display_name, updated_at=at)

    def reset_password(self, user_id: uuid.UUID, new_hash: str, *, at: datetime) -> User | None:
        return self._change(
            user_id,
            users.c.is_active == true(),
            password_hash=new_hash,
            display_name=case((users.c.email_verified == true(), users.c.display_name)),
            email_verified=True,
            updated_at=at,
        )

    def verify_email(self, user_id: uuid.UUID, *, at: datetime) -> User | None:
        return self._change(user_id, users.c.is_active == true(), email_verified=True, updated_at=at)

    def set_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        return self._set_email(user_id, address, canonical_email, at)

    def mark_deleted(self, user_id: uuid.UUID, *, at: datetime) -> str | None:
        is_own = and_(users.c.id == user_id, _IS_THERE)
        canonical: str | None = self._connection.scalar(select(users.c.canonical_email).where(is_own).with_for_update())
        if canonical is None:
            return None
        erased = {"email": "", "canonical_email": f"deleted {user_id}", "password_hash": "", "display_name": None}
        self._connection.execute(
            update(users).where(is_own).values(**erased, email_verified=False, roles=[], is_active=False, deleted_at=at)
        )
        self.has_deleted = True
        return canonical

    def next_deleted(self) -> DeletedAccount | None:
        row = self._connection.execute(
            select(users.c.id, users.c.erased_until)
            .where(users.c.deleted_at.is_not(null()))
            .order_by(users.c.deleted_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        return None if row is None else DeletedAccount(id=row.id, erased_until=row.erased_until)

    def note_erased(self, user_id: uuid.UUID, *, until: uuid.UUID) -> None:
        self._connection.execute(update(users).where(users.c.id == user_id).values(erased_until=until))

    def restore_email(self, user_id: uuid.UUID, address: str, *, canonical_email: str, at: datetime) -> User | None:
        return self._set_email(user_id, address, canonical_email, at, password_hash=NO_PASSWORD)

    def _set_email(
        self, user_id: uuid.UUID, address: str, canonical_email: str, at: datetime, **more: str
    ) -> User | None:
        with database_errors(_REFUSALS):
            return self._change(
                user_id,
                users.c.is_active == true(),
                email=address,
                canonical_email=canonical_email,
                email_verified=True,
                updated_at=at,
                **more,
            )

    def remove(self, user_id: uuid.UUID) -> str | None:
        # The foreign keys delete the rows of the user in other tables.
        removed = delete(users).where(users.c.id == user_id).returning(users.c.canonical_email)
        return self._connection.scalars(removed).one_or_none()

    def _change(self, user_id: uuid.UUID, *conditions: ColumnElement[bool], **values: Any) -> User | None:
        row = self._connection.execute(
            update(users).where(users.c.id == user_id, _IS_THERE, *conditions).values(**values).returning(*USER_COLUMNS)
        ).one_or_none()
        return None if row is None else user_of(row)

    def _account(self, condition: Any) -> Account | None:
        row = self._connection.execute(select(*USER_COLUMNS, users.c.password_hash).where(condition)).one_or_none()
        return None if row is None else Account(user=user_of(row), password_hash=row.password_hash)
