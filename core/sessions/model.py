"""Sessions: the values, and what a refresh token does to one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Protocol

from core.users.model import User

MAX_USER_AGENT = 256


class EndReason(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    ENDED_BY_USER = "ended_by_user"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a reason
    ACCOUNT_DELETED = "account_deleted"
    REVOKED = "revoked"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 - the name of a reason
    SESSION_LIMIT = "session_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login on one device."""

    id: uuid.UUID
    user_id: uuid.UUID
    seed: bytes = field(repr=False)
    generation: int
    created_at: datetime
    last_used_at: datetime
    idle_expires_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    user_agent: str
    ip: str
    end_reason: EndReason | None = None

    @property
    def ends_at(self) -> datetime:
        """When it ends if it is not used again."""
        return min(self.idle_expires_at, self.expires_at)

    def is_live(self, now: datetime) -> bool:
        """Whether it has neither been ended nor run out."""
        return self.ended_at is None and now < self.ends_at


class Rotation(Enum):
    """What to do with a refresh token that was presented."""

    ADVANCE = auto()
    """It is the current one: move the counter on."""
    REPEAT = auto()
    """It is the direct predecessor within the grace: give the same successor again."""
    REUSE = auto()
    """It was replaced long ago: two parties hold this session, so it ends."""
    REFUSE = auto()
    """The session is over, or never was at this generation."""


def rotate(session: Session, presented: int, *, now: datetime, grace: timedelta) -> Rotation:
    """Decide what a refresh token of generation ``presented`` deserves (RFC 9700 section 4.14.2).

    The grace lets tabs and retries that race keep their session. It never makes a second live token: everyone
    within it is given the one successor that exists.
    """
    if not session.is_live(now) or presented > session.generation:
        return Rotation.REFUSE
    if presented == session.generation:
        return Rotation.ADVANCE
    # The distance in either direction: a clock that was set back must not stretch the grace.
    if presented == session.generation - 1 and abs(now - session.last_used_at) < grace:
        return Rotation.REPEAT
    return Rotation.REUSE


class Sessions(Protocol):
    """Port: the sessions inside one unit of work."""

    def add(self, session: Session) -> None:
        """Store a new session."""
        ...

    def with_user(self, session_id: uuid.UUID) -> tuple[Session, User] | None:
        """A session, ended or not, with its user."""
        ...

    def principal(self, session_id: uuid.UUID, user_id: uuid.UUID, *, now: datetime) -> User | None:
        """The active user of a session that is live, in one statement."""
        ...

    def advance(self, session_id: uuid.UUID, *, generation: int, at: datetime, idle_expires_at: datetime) -> bool:
        """Move a session that has not ended from ``generation`` to the next; False where somebody was faster."""
        ...

    def end(self, session_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime, reason: EndReason) -> bool:
        """End a live session of this user; False where there is none."""
        ...

    def end_all(
        self, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
    ) -> list[uuid.UUID]:
        """End every live session of a user but ``keep``; the ids of those that ended."""
        ...

    def end_surplus(self, user_id: uuid.UUID, *, limit: int, at: datetime) -> list[uuid.UUID]:
        """End the sessions idle longest until at most ``limit`` are live; the ids of those that ended."""
        ...

    def live_of(self, user_id: uuid.UUID, *, now: datetime) -> list[Session]:
        """The live sessions of a user, newest first."""
        ...

    def of(self, user_id: uuid.UUID) -> list[Session]:
        """The sessions of a user, ended or not, newest first."""
        ...

    def purge(self, *, before: datetime, made_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` sessions that were made before one time and whose absolute end was before another.

        How many there were.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks: the user and the session that a verified access token speaks for."""

    user: User
    session_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a login or a refresh gives. Durations are in seconds."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    refresh_expires_in: int
