"""Sessions: the values, and the decision about a refresh token."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Protocol

from core.tokens.access import Login
from core.users.model import User

MAX_USER_AGENT = 256
BY_PASSWORD = ("pwd",)


class EndReason(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    ENDED_BY_USER = "ended_by_user"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of a reason
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of a reason
    EMAIL_CHANGE_UNDONE = "email_change_undone"
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
    scopes: tuple[str, ...] | None = None
    """Those that the login asked for; None for all that the roles give."""
    audience: str | None = None
    """That of its tokens; None for this service's own."""
    auth_time: datetime | None = None
    """When its user last proved who they are; None in sessions of versions that did not keep it."""
    amr: tuple[str, ...] | None = None
    """How (RFC 8176)."""

    @property
    def login(self) -> Login:
        """When and how its user proved who they are."""
        return Login(at=self.auth_time or self.created_at, methods=self.amr or BY_PASSWORD)

    @property
    def ends_at(self) -> datetime:
        """The time when it ends if it is not used again."""
        return min(self.idle_expires_at, self.expires_at)

    def is_live(self, now: datetime) -> bool:
        """Whether it has neither ended nor expired."""
        return self.ended_at is None and now < self.ends_at


class Rotation(Enum):
    """What to do with a presented refresh token."""

    ADVANCE = auto()
    """It is the current one: move the session to the next generation."""
    REPEAT = auto()
    """It is the direct predecessor within the grace: return the same successor again."""
    REUSE = auto()
    """It was replaced long ago: two parties have tokens of this session, so it ends."""
    REFUSE = auto()
    """The session has ended, or has never reached this generation."""


def rotate(session: Session, presented: int, *, now: datetime, grace: timedelta) -> Rotation:
    """Decide about a refresh token of generation ``presented`` (RFC 9700 section 4.14.2).

    With the grace, tabs and retries that race keep their session. It never makes a second live token: all of them get
    the same successor.
    """
    if not session.is_live(now) or presented > session.generation:
        return Rotation.REFUSE
    if presented == session.generation:
        return Rotation.ADVANCE
    # The absolute distance: a clock that was set back must not lengthen the grace.
    if presented == session.generation - 1 and abs(now - session.last_used_at) < grace:
        return Rotation.REPEAT
    return Rotation.REUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedSessions:
    """What the end of all sessions of a user has ended."""

    ids: list[uuid.UUID]
    """The ones used last."""
    are_all: bool
    """Whether there were no more. The others have ended as well, and the housekeeping says so in their rows."""


class Sessions(Protocol):
    """Port: the sessions inside one unit of work."""

    def add(self, session: Session) -> None:
        """Store a new session."""
        ...

    def with_user(self, session_id: uuid.UUID) -> tuple[Session, User] | None:
        """Return a session, ended or not, with its user."""
        ...

    def principal(self, session_id: uuid.UUID, user_id: uuid.UUID, *, now: datetime) -> User | None:
        """Return the active user of a live session, in one statement."""
        ...

    def advance(self, session_id: uuid.UUID, *, generation: int, at: datetime, idle_expires_at: datetime) -> bool:
        """Move a session that has not ended from ``generation`` to the next; False if another request was faster."""
        ...

    def end(self, session_id: uuid.UUID, *, user_id: uuid.UUID, at: datetime, reason: EndReason) -> bool:
        """End a live session of this user; False if there is none."""
        ...

    def end_all(
        self, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
    ) -> EndedSessions:
        """End every live session of a user except ``keep``."""
        ...

    def end_marked(self, *, limit: int) -> int:
        """Note in the rows of up to ``limit`` sessions that they have ended; return their number.

        They are those for which `end_all` only left a mark with their user.
        """
        ...

    def end_next(
        self, after: uuid.UUID | None, *, at: datetime, reason: EndReason, limit: int
    ) -> tuple[int, uuid.UUID | None]:
        """End the live ones among the next sessions behind an id; return their number, and the id to go on behind."""
        ...

    def end_surplus(self, user_id: uuid.UUID, *, limit: int, at: datetime) -> list[uuid.UUID]:
        """End the sessions idle longest until at most ``limit`` are live; return the ids of the ended ones."""
        ...

    def live_of(self, user_id: uuid.UUID, *, now: datetime) -> list[Session]:
        """Return the live sessions of a user, newest first."""
        ...

    def of(self, user_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int | None = None) -> list[Session]:
        """Return the sessions of a user, ended or not, by their ids, which grow with time: those after one of them."""
        ...

    def erase(self, user_id: uuid.UUID, *, limit: int) -> int:
        """Delete up to ``limit`` sessions of a user; return their number."""
        ...

    def purge(self, *, before: datetime, made_before: datetime, limit: int) -> int:
        """Delete up to ``limit`` sessions that ended before ``before``; return their number.

        Those that expired are found among those made before ``made_before``.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The authenticated caller: the user and the session of a verified access token."""

    user: User
    session_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends an access token: a user with a session, or a client that speaks for itself."""

    principal: Principal | None
    client_id: str
    """The client that the token was issued to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """The tokens of a login or a refresh. Durations are in seconds."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    refresh_expires_in: int
    scope: str | None = None
    device_token: str | None = field(default=None, repr=False)
    """Of the device that has logged in."""
