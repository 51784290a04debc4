"""Devices in SQL."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, Index, Table, Uuid, delete, insert, or_, select, update

from core.devices.model import Device
from core.storage.pages import page_of
from core.storage.schema import UtcDateTime, metadata
from core.users.sql import users

devices = Table(
    "devices",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    # No foreign key: sessions are deleted earlier than devices.
    Column("session_id", Uuid, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

_COLUMNS = tuple(devices.c[field.name] for field in fields(Device))


class SqlDevices:
    """The `Devices` port on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, device: Device) -> None:
        self._connection.execute(insert(devices).values(**asdict(device)))

    def of_account(self, device_id: uuid.UUID, canonical_email: str, *, now: datetime) -> Device | None:
        row = self._connection.execute(
            select(*_COLUMNS)
            .join_from(devices, users)
            .where(devices.c.id == device_id, users.c.canonical_email == canonical_email, devices.c.expires_at > now)
        ).one_or_none()
        return None if row is None else _device_of(row)

    def use(self, device: Device) -> bool:
        used = self._connection.execute(
            update(devices)
            .where(devices.c.id == device.id)
            .values(session_id=device.session_id, last_used_at=device.last_used_at, expires_at=device.expires_at)
        )
        return used.rowcount == 1

    def forget_surplus(self, user_id: uuid.UUID, *, limit: int) -> None:
        newest_first = select(devices.c.id).where(devices.c.user_id == user_id).order_by(devices.c.last_used_at.desc())
        surplus = self._connection.scalars(newest_first.offset(limit)).all()
        if surplus:
            self._connection.execute(delete(devices).where(devices.c.id.in_(surplus)))

    def forget_all(self, user_id: uuid.UUID, *, keep_session: uuid.UUID | None = None) -> None:
        is_another = or_(devices.c.session_id.is_(None), devices.c.session_id != keep_session)
        others = [] if keep_session is None else [is_another]
        self._connection.execute(delete(devices).where(devices.c.user_id == user_id, *others))

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Device]:
        page = page_of(select(*_COLUMNS).where(devices.c.user_id == user_id), devices.c.id, after, limit)
        return [_device_of(row) for row in self._connection.execute(page)]

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        own = select(devices.c.id).where(devices.c.user_id == user_id).limit(limit)
        return self._connection.execute(delete(devices).where(devices.c.id.in_(own))).rowcount

    def purge(self, *, now: datetime, limit: int) -> int:
        old = select(devices.c.id).where(devices.c.expires_at < now).limit(limit)
        return self._connection.execute(delete(devices).where(devices.c.id.in_(old))).rowcount


def _device_of(row: Sequence[Any]) -> Device:
    return Device(**{field.name: value for field, value in zip(fields(Device), row, strict=True)})
