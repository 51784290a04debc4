"""Sessions: one row a login, the pure rotation decision, and the use cases that refresh and end them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Protocol

from core.audit import Client, EventKind, event
from core.clock import Clock, new_id, whole_seconds
from core.errors import InvalidRefreshToken, NotFound, TransactionConflict
from core.outbox import MessageKind, message
from core.refresh_tokens import RefreshToken, RefreshTokens, new_seed
from core.retries import retried
from core.revocations import RevocationKind, revoke
from core.settings import TokenSettings
from core.tokens import AccessTokens
from core.users import User

if TYPE_CHECKING:
    from core.store import Store, UnitOfWork

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


class SessionService:
    """Starts, refreshes, lists and ends sessions."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        settings: TokenSettings,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens

    def start(self, work: UnitOfWork, user: User, client: Client, now: datetime) -> Session:
        """Start a session inside the caller's unit of work, always with a new id (no fixation)."""
        session = Session(
            id=new_id(now),
            user_id=user.id,
            seed=new_seed(),
            generation=0,
            created_at=now,
            last_used_at=now,
            idle_expires_at=now + self._settings.session_idle,
            expires_at=now + self._settings.session_lifetime,
            ended_at=None,
            user_agent=client.user_agent[:MAX_USER_AGENT],
            ip=client.ip,
        )
        surplus = work.sessions.end_surplus(user.id, limit=self._settings.session_limit - 1, at=now)
        revoke_sessions(work, surplus, at=now)
        work.sessions.add(session)
        return session

    def refresh(self, refresh_token: str, client: Client) -> TokenPair:
        """Exchange a refresh token for a new pair.

        Raises:
            InvalidRefreshToken: it is junk, too old, or its session is over; a reused one has ended its session.

        """
        return self._refresh(self._refresh_tokens.read(refresh_token), client)

    @retried
    def _refresh(self, token: RefreshToken, client: Client) -> TokenPair:
        now = self._clock.now()
        with self._store.begin() as work:
            found = work.sessions.with_user(token.session_id)
            if found is None:
                raise InvalidRefreshToken
            session, user = found
            if not user.is_active or not token.belongs_to(session.seed):
                raise InvalidRefreshToken
            match rotate(session, token.generation, now=now, grace=self._settings.refresh_grace):
                case Rotation.ADVANCE:
                    session = self._advance(work, session, now)
                case Rotation.REPEAT:
                    pass
                case Rotation.REUSE:
                    self._end_reused(work, session, user, client, now)
                    raise InvalidRefreshToken
                case Rotation.REFUSE:
                    raise InvalidRefreshToken
            work.commit()
        return self.pair(session, user, now)

    def _advance(self, work: UnitOfWork, session: Session, now: datetime) -> Session:
        idle_expires_at = now + self._settings.session_idle
        advanced = work.sessions.advance(
            session.id, generation=session.generation, at=now, idle_expires_at=idle_expires_at
        )
        if not advanced:
            # Another request moved or ended this session since it was read. Read it again: as its direct
            # predecessor this token is then given the same successor as the winner.
            raise TransactionConflict
        return replace(session, generation=session.generation + 1, last_used_at=now, idle_expires_at=idle_expires_at)

    def _end_reused(self, work: UnitOfWork, session: Session, user: User, client: Client, now: datetime) -> None:
        """End the session for good: committed here, before anything is raised."""
        reason = EndReason.REFRESH_TOKEN_REUSED
        if not work.sessions.end(session.id, user_id=session.user_id, at=now, reason=reason):
            return  # another reuse of it came first and told
        revoke_sessions(work, [session.id], at=now)
        work.audit.add(
            event(
                EventKind.REFRESH_TOKEN_REUSED,
                at=now,
                client=client,
                user_id=session.user_id,
                session_id=session.id,
            )
        )
        work.outbox.add(message(MessageKind.SESSION_ENDED, at=now, client=client, user_id=user.id, address=user.email))
        work.commit()

    @retried
    def live(self, principal: Principal) -> list[Session]:
        """The live sessions of the user, newest first."""
        with self._store.reading() as read:
            return read.sessions.live_of(principal.user.id, now=self._clock.now())

    @retried
    def logout(self, principal: Principal, client: Client) -> None:
        """End the session of the token that asked."""
        self._end(principal.session_id, principal.user.id, EndReason.LOGOUT, EventKind.LOGGED_OUT, client)

    @retried
    def end(self, principal: Principal, session_id: uuid.UUID, client: Client) -> None:
        """End one session of the user.

        Raises:
            NotFound: there is no such live session, or it is somebody else's; the two are not told apart.

        """
        if not self._end(session_id, principal.user.id, EndReason.ENDED_BY_USER, EventKind.SESSION_ENDED, client):
            raise NotFound

    @retried
    def revoke(self, session_id: uuid.UUID, user_id: uuid.UUID, client: Client) -> None:
        """End the session of a token that was revoked (RFC 7009); one that is over already stays so."""
        self._end(session_id, user_id, EndReason.REVOKED, EventKind.TOKEN_REVOKED, client)

    def _end(
        self, session_id: uuid.UUID, user_id: uuid.UUID, reason: EndReason, kind: EventKind, client: Client
    ) -> bool:
        now = self._clock.now()
        with self._store.begin() as work:
            ended = work.sessions.end(session_id, user_id=user_id, at=now, reason=reason)
            if ended:
                revoke_sessions(work, [session_id], at=now)
                work.audit.add(event(kind, at=now, client=client, user_id=user_id, session_id=session_id))
                work.commit()
        return ended

    @retried
    def end_all(self, principal: Principal, client: Client, *, keep_current: bool) -> None:
        """End every session of the user, or every other one."""
        now = self._clock.now()
        user_id = principal.user.id
        keep = principal.session_id if keep_current else None
        with self._store.begin() as work:
            end_sessions(work, user_id, at=now, reason=EndReason.ENDED_BY_USER, keep=keep)
            work.audit.add(event(EventKind.SESSIONS_ENDED, at=now, client=client, user_id=user_id))
            work.commit()

    def pair(self, session: Session, user: User, now: datetime) -> TokenPair:
        """The tokens of a session at its generation. Outside any unit of work: the key ring may ask the store."""
        access_token, expires_at = self._access_tokens.issue(user, session.id, now=now, not_after=session.ends_at)
        return TokenPair(
            access_token=access_token,
            expires_in=whole_seconds(expires_at - now),
            refresh_token=self._refresh_tokens.make(session.id, session.seed, session.generation),
            refresh_expires_in=whole_seconds(session.ends_at - now),
        )


def revoke_sessions(work: UnitOfWork, session_ids: Iterable[uuid.UUID], *, at: datetime) -> None:
    """Tell the verifiers of sessions that this unit of work has ended."""
    revoke(work, RevocationKind.SESSION, map(str, session_ids), at=at)


def end_sessions(
    work: UnitOfWork, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
) -> None:
    """End every live session of a user but ``keep``, and tell the verifiers."""
    revoke_sessions(work, work.sessions.end_all(user_id, at=at, reason=reason, keep=keep), at=at)
