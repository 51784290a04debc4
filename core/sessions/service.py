"""The use cases of sessions: whoami, refresh, list and end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from core.audit.model import EventKind, event
from core.clock import Clock, new_id, next_second, whole_seconds
from core.errors import InvalidToken, NotFound, TransactionConflict
from core.mail.model import MessageKind, message
from core.origin import Origin
from core.sessions.errors import InvalidRefreshToken
from core.sessions.model import (
    BY_PASSWORD,
    MAX_USER_AGENT,
    Caller,
    EndReason,
    Principal,
    Rotation,
    Session,
    TokenPair,
    rotate,
)
from core.sessions.refresh_tokens import RefreshToken, RefreshTokens, new_seed
from core.settings.groups import TokenSettings
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.access import (
    WHATEVER_THERE_IS,
    Access,
    AccessRequest,
    all_scopes,
    audience_of,
    common_scopes,
    scopes_of,
)
from core.tokens.access_tokens import AccessTokens, ClientClaims, UserClaims
from core.tokens.model import RevocationKind
from core.tokens.revocation_feed import revoke
from core.users.model import User


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

    def whoami(self, access_token: str) -> Principal:
        """Return the user and session of an access token: one signature check and one statement.

        Raises:
            InvalidToken: the token is not valid, its session has ended, or its user was deleted or is inactive.

        """
        match self._access_tokens.verify(access_token):
            case UserClaims(session_id=session_id, user_id=user_id):
                return self._principal(session_id, user_id)
            case ClientClaims():
                raise InvalidToken  # a client's token has no user

    def caller(self, access_token: str) -> Caller:
        """Return the user or the client of an access token.

        Raises:
            InvalidToken: the token is not valid, or was revoked; its session, its user or its client is no more active.

        """
        match self._access_tokens.verify(access_token):
            case UserClaims() as claims:
                principal = self._principal(claims.session_id, claims.user_id)
                return Caller(principal=principal, client_id=claims.client_id)
            case ClientClaims() as claims:
                self._require_active(claims)
                return Caller(principal=None, client_id=claims.client_id)

    @retried
    def _require_active(self, claims: ClientClaims) -> None:
        with self._store.reading() as read:
            if not is_clients_live(read, claims, self._clock.now()):
                raise InvalidToken

    @retried
    def _principal(self, session_id: uuid.UUID, user_id: uuid.UUID) -> Principal:
        with self._store.reading() as read:
            user = read.sessions.principal(session_id, user_id, now=self._clock.now())
        if user is None:
            raise InvalidToken
        return Principal(user=user, session_id=session_id)

    def start(
        self, work: UnitOfWork, user: User, origin: Origin, now: datetime, asked: AccessRequest = WHATEVER_THERE_IS
    ) -> Session:
        """Start a session in the caller's unit of work, always with a new id (no session fixation).

        Raises:
            ScopeNotGranted: none of the scopes that were asked for can be granted.
            UnknownAudience: the resource that was asked for is none of ours.

        """
        scopes = common_scopes(asked.scope, scopes_of(user.roles, self._settings))
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
            user_agent=origin.user_agent[:MAX_USER_AGENT],
            ip=origin.ip,
            scopes=scopes if asked.scope else None,
            audience=asked.resource and audience_of(asked.resource, self._settings.audiences),
            auth_time=now,
            amr=BY_PASSWORD,
        )
        surplus = work.sessions.end_surplus(user.id, limit=self._settings.session_limit - 1, at=now)
        revoke_sessions(work, surplus, at=now)
        work.sessions.add(session)
        return session

    def refresh(self, refresh_token: str, origin: Origin, asked: AccessRequest = WHATEVER_THERE_IS) -> TokenPair:
        """Exchange a refresh token for a new pair.

        The access token may be narrower than the session, and for another audience; the session stays as it is.

        Raises:
            InvalidRefreshToken: it is malformed or too old, or its session has ended; a reused one ends its session.
            ScopeNotGranted: more is asked for than the session has. The refresh token is not used up.
            UnknownAudience: the resource that was asked for is none of ours. The refresh token is not used up.

        """
        return self._refresh(self._refresh_tokens.read(refresh_token), origin, asked)

    @retried
    def _refresh(self, token: RefreshToken, origin: Origin, asked: AccessRequest) -> TokenPair:
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
                    access = self._access(session, user, asked)
                    session = self._advance(work, session, now)
                case Rotation.REPEAT:
                    access = self._access(session, user, asked)
                case Rotation.REUSE:
                    self._end_reused(work, session, user, origin, now)
                    raise InvalidRefreshToken
                case Rotation.REFUSE:
                    raise InvalidRefreshToken
            work.commit()
        return self._pair(session, user, access, now)

    def _advance(self, work: UnitOfWork, session: Session, now: datetime) -> Session:
        idle_expires_at = now + self._settings.session_idle
        advanced = work.sessions.advance(
            session.id, generation=session.generation, at=now, idle_expires_at=idle_expires_at
        )
        if not advanced:
            # Another request has advanced or ended the session since it was read. Run again: if it was advanced, this
            # token is the direct predecessor and gets the same successor.
            raise TransactionConflict
        return replace(session, generation=session.generation + 1, last_used_at=now, idle_expires_at=idle_expires_at)

    def _end_reused(self, work: UnitOfWork, session: Session, user: User, origin: Origin, now: datetime) -> None:
        """End the session, and commit before the error is raised."""
        reason = EndReason.REFRESH_TOKEN_REUSED
        if not work.sessions.end(session.id, user_id=session.user_id, at=now, reason=reason):
            return  # another reuse came first and has recorded it
        revoke_sessions(work, [session.id], at=now)
        work.audit.add(
            event(
                EventKind.REFRESH_TOKEN_REUSED,
                at=now,
                origin=origin,
                user_id=session.user_id,
                session_id=session.id,
            )
        )
        work.outbox.add(message(MessageKind.SESSION_ENDED, at=now, origin=origin, user_id=user.id, address=user.email))
        work.commit()

    @retried
    def live(self, principal: Principal) -> list[Session]:
        """Return the live sessions of the user, newest first."""
        with self._store.reading() as read:
            return read.sessions.live_of(principal.user.id, now=self._clock.now())

    @retried
    def logout(self, principal: Principal, origin: Origin) -> None:
        """End the caller's session."""
        self._end(principal.session_id, principal.user.id, EndReason.LOGOUT, EventKind.LOGGED_OUT, origin)

    @retried
    def end(self, principal: Principal, session_id: uuid.UUID, origin: Origin) -> None:
        """End one session of the user.

        Raises:
            NotFound: there is no such live session, or it is another user's.

        """
        if not self._end(session_id, principal.user.id, EndReason.ENDED_BY_USER, EventKind.SESSION_ENDED, origin):
            raise NotFound

    @retried
    def revoke(self, session_id: uuid.UUID, user_id: uuid.UUID, origin: Origin) -> None:
        """End the session of a revoked token (RFC 7009), unless it has ended before."""
        self._end(session_id, user_id, EndReason.REVOKED, EventKind.TOKEN_REVOKED, origin)

    def _end(
        self, session_id: uuid.UUID, user_id: uuid.UUID, reason: EndReason, kind: EventKind, origin: Origin
    ) -> bool:
        now = self._clock.now()
        with self._store.begin(user_id) as work:
            ended = work.sessions.end(session_id, user_id=user_id, at=now, reason=reason)
            if ended:
                revoke_sessions(work, [session_id], at=now)
                work.audit.add(event(kind, at=now, origin=origin, user_id=user_id, session_id=session_id))
                work.commit()
        return ended

    @retried
    def end_all(self, principal: Principal, origin: Origin, *, keep_current: bool) -> None:
        """End every session of the user, or all except the caller's.

        Raises:
            InvalidToken: the account was deleted since the token was checked.

        """
        now = self._clock.now()
        user_id = principal.user.id
        keep = principal.session_id if keep_current else None
        with self._store.begin(user_id) as work:
            # First the user: of two that end many rows at once, in different orders, PostgreSQL would undo one.
            if work.users.lock(user_id) is None:
                raise InvalidToken  # the account was deleted since the token was checked
            work.devices.forget_all(user_id, keep_session=keep)
            if not end_sessions(work, user_id, at=now, reason=EndReason.ENDED_BY_USER, keep=keep):
                return
            work.audit.add(event(EventKind.SESSIONS_ENDED, at=now, origin=origin, user_id=user_id))
            work.commit()

    def pair(self, session: Session, user: User, now: datetime) -> TokenPair:
        """Make the tokens of a session, outside any unit of work: the key ring may need the store."""
        return self._pair(session, user, self._access(session, user, WHATEVER_THERE_IS), now)

    def _access(self, session: Session, user: User, asked: AccessRequest) -> Access:
        """Return what the next token is good for; a role that was taken away takes its scopes along."""
        allowed = scopes_of(user.roles, self._settings)
        kept = allowed if session.scopes is None else tuple(scope for scope in session.scopes if scope in allowed)
        return Access(
            scopes=all_scopes(asked.scope, kept),
            audience=audience_of(asked.resource or session.audience, self._settings.audiences),
        )

    def _pair(self, session: Session, user: User, access: Access, now: datetime) -> TokenPair:
        access_token, expires_at = self._access_tokens.issue(
            user, session.id, session.login, access, now=now, not_after=session.ends_at
        )
        return TokenPair(
            access_token=access_token,
            expires_in=whole_seconds(expires_at - now),
            refresh_token=self._refresh_tokens.make(session.id, session.seed, session.generation),
            refresh_expires_in=whole_seconds(session.ends_at - now),
            scope=access.scope,
        )


def is_clients_live(read: UnitOfWork, claims: ClientClaims, now: datetime) -> bool:
    """Whether a client's token was not revoked, and its client is active."""
    if read.revocations.revokes(token_id=claims.token_id, subject=claims.subject, issued_at=claims.issued_at, now=now):
        return False
    client = read.clients.by_id(claims.client_id)
    return client is not None and client.is_active


def revoke_sessions(work: UnitOfWork, session_ids: Iterable[uuid.UUID], *, at: datetime) -> None:
    """Add sessions that this unit of work has ended to the feed of revocations."""
    revoke(work, RevocationKind.SESSION, map(str, session_ids), at=at)


def end_sessions(
    work: UnitOfWork, user_id: uuid.UUID, *, at: datetime, reason: EndReason, keep: uuid.UUID | None = None
) -> bool:
    """End every live session of a user except ``keep``, and add them to the feed; False if there was none.

    Of very many, the feed names the ones used last; one entry for the user ends all tokens that were issued until now.
    A kept session then needs a refresh for services that verify tokens by themselves.
    """
    ended = work.sessions.end_all(user_id, at=at, reason=reason, keep=keep)
    revoke_sessions(work, ended.ids, at=at)
    if not ended.are_all:
        revoke(work, RevocationKind.SUBJECT, [str(user_id)], at=at, not_before=next_second(at))
    return bool(ended.ids)
