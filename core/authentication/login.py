"""Authentication: who logs in, and whom a token speaks for."""

from __future__ import annotations

import uuid
from datetime import datetime

from core.audit.model import EventKind, event
from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.reauthentication import if_proven
from core.clock import Clock
from core.errors import InvalidToken
from core.mail.model import MessageKind, message
from core.origin import Origin
from core.sessions.model import Principal, Session, TokenPair
from core.sessions.service import SessionService
from core.storage.retries import retried
from core.store import Store
from core.throttling.throttle import Attempt, Throttle
from core.tokens.access_tokens import AccessTokens, ClientClaims, UserClaims
from core.users.addresses import canonical_or_none
from core.users.model import Account


class Authentication:
    """Login, and whoami."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        sessions: SessionService,
        access_tokens: AccessTokens,
        throttle: Throttle,
        verified_only: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._throttle = throttle
        self._verified_only = verified_only
        self._sessions = sessions
        self._access_tokens = access_tokens

    def whoami(self, access_token: str) -> Principal:
        """The user and session that a token speaks for: one signature check and one statement.

        Raises:
            InvalidToken: the token is not valid, its session has ended, or its user is gone or inactive.

        """
        match self._access_tokens.verify(access_token):
            case UserClaims(session_id=session_id, user_id=user_id):
                return self._principal(session_id, user_id)
            case ClientClaims():
                raise InvalidToken  # there is no user behind it

    @retried
    def _principal(self, session_id: uuid.UUID, user_id: uuid.UUID) -> Principal:
        with self._store.reading() as read:
            user = read.sessions.principal(session_id, user_id, now=self._clock.now())
        if user is None:
            raise InvalidToken
        return Principal(user=user, session_id=session_id)

    def login(self, email: str, password: str, origin: Origin) -> TokenPair:
        """Start a session for an address and its password.

        An unknown address, a wrong password and an inactive user answer alike and cost alike.

        Raises:
            InvalidCredentials: they do not belong together.
            EmailNotVerified: they do, but only verified addresses may log in; a new link is on its way.
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        with self._passwords.reserve(), self._throttle.attempt(email, origin) as attempt:
            account, pair = if_proven(
                password,
                by=self._passwords,
                find=lambda: self._account(email),
                act=lambda account: self._admit(account, password, origin, attempt),
            )
        if pair is None:
            self._record_failure(account, origin)
            raise InvalidCredentials
        return pair

    def _admit(self, account: Account, password: str, origin: Origin, attempt: Attempt | None) -> TokenPair | None:
        """Start a session for who has proved to be the owner; None where the hash was replaced meanwhile."""
        if self._verified_only and not account.user.email_verified:
            self._refuse_unverified(account, origin)
            raise EmailNotVerified
        now = self._clock.now()
        session = self._start_session(account, self._upgrade(account, password), origin, attempt, now)
        return None if session is None else self._sessions.pair(session, account.user, now)

    @retried
    def _account(self, email: str) -> Account | None:
        canonical = canonical_or_none(email)
        with self._store.reading() as read:
            # Asked in vain for an address that cannot exist, so that it takes the same time.
            return read.users.by_email(canonical or "")

    def _upgrade(self, account: Account, password: str) -> str | None:
        """A hash of today's scheme and cost, where the stored one is not, and where there is time to make it."""
        if not self._passwords.needs_upgrade(account.password_hash):
            return None
        try:
            return self._passwords.hash(password)
        except Overloaded:
            return None  # the next login upgrades it

    @retried
    def _start_session(
        self, account: Account, upgraded: str | None, origin: Origin, attempt: Attempt | None, now: datetime
    ) -> Session | None:
        user_id, password_hash = account.user.id, account.password_hash
        with self._store.begin() as work:
            if upgraded and work.users.replace_password(
                user_id, old_hash=password_hash, new_hash=upgraded, at=account.user.updated_at
            ):
                password_hash = upgraded
            user = work.users.lock_credentials(user_id, password_hash)
            if user is None:
                return None
            session = self._sessions.start(work, user, origin, now)
            self._throttle.record_success(work, attempt)
            work.audit.add(event(EventKind.LOGGED_IN, at=now, origin=origin, user_id=user_id, session_id=session.id))
            work.commit()
        return session

    @retried
    def _refuse_unverified(self, account: Account, origin: Origin) -> None:
        """Send another link: the first one may have expired, and without a login none can be asked for."""
        now, user_id = self._clock.now(), account.user.id
        with self._store.begin() as work:
            if work.users.lock(user_id) is None:
                raise InvalidCredentials  # the account went away since its password was checked
            work.audit.add(event(EventKind.LOGIN_FAILED, at=now, origin=origin, user_id=user_id))
            work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, origin=origin, user_id=user_id))
            work.commit()

    @retried
    def _record_failure(self, account: Account | None, origin: Origin) -> None:
        """Commit what must survive the refusal, for a known and an unknown address alike."""
        with self._store.begin() as work:
            user_id = account.user.id if account else None
            work.audit.add(event(EventKind.LOGIN_FAILED, at=self._clock.now(), origin=origin, user_id=user_id))
            work.commit()
