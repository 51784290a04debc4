"""Logging in with an address and a password."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.audit.model import EventKind, event
from core.authentication.attempts import LetThrough, PasswordAttempts
from core.authentication.errors import EmailNotVerified, InvalidCredentials, Overloaded
from core.authentication.passwords.hasher import CHECKS, PasswordHasher
from core.clock import Clock
from core.devices.service import DeviceService
from core.mail.model import MessageKind, message
from core.origin import Origin
from core.sessions.model import Session, TokenPair
from core.sessions.service import SessionService
from core.settings.groups import MailSettings
from core.storage.retries import retried
from core.store import Store
from core.throttling.throttle import Attempt, Throttle
from core.tokens.access import WHATEVER_THERE_IS, AccessRequest
from core.users.addresses import canonical_or_none
from core.users.model import Account


class Authentication:
    """Starts sessions for users who log in with a password."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        attempts: PasswordAttempts,
        devices: DeviceService,
        sessions: SessionService,
        throttle: Throttle,
        settings: MailSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._attempts = attempts
        self._devices = devices
        self._throttle = throttle
        self._settings = settings
        self._sessions = sessions

    def login(
        self,
        email: str,
        password: str,
        origin: Origin,
        asked: AccessRequest = WHATEVER_THERE_IS,
        *,
        device_token: str | None = None,
    ) -> TokenPair:
        """Start a session for an address and its password.

        An attempt that brings the token of a device which the account knows is counted under it alone.

        An unknown address, a wrong password and an inactive user get the same answer at the same cost.

        Raises:
            InvalidCredentials: no active account has this address with this password.
            ScopeNotGranted: the password is right, but none of the scopes that were asked for can be granted.
            UnknownAudience: the password is right, but the resource that was asked for is none of ours.
            EmailNotVerified: the password is right, but only verified addresses may log in; a new link will be sent.
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        account = None
        with self._attempts.attempt(email, origin, device_token) as let_through:
            for _ in range(CHECKS):
                account = self._account(email)
                if not self._passwords.matches(password, account) or account is None:
                    break
                pair = self._admit(account, password, origin, let_through, asked)
                if pair is not None:
                    return pair
        self._record_failure(account, let_through.attempt, origin)
        raise InvalidCredentials

    def _admit(
        self, account: Account, password: str, origin: Origin, let_through: LetThrough, asked: AccessRequest
    ) -> TokenPair | None:
        """Start a session; None if the hash was replaced since it was checked."""
        if self._settings.require_verified_email and not account.user.email_verified:
            self._refuse_unverified(account, origin)
            raise EmailNotVerified
        now = self._clock.now()
        started = self._start_session(account, self._upgrade(account, password), origin, let_through, now, asked)
        if started is None:
            return None
        session, device_token = started
        return replace(self._sessions.pair(session, account.user, now), device_token=device_token)

    @retried
    def _account(self, email: str) -> Account | None:
        canonical = canonical_or_none(email)
        with self._store.reading() as read:
            # Also for a text that is no address, so that it takes the same time.
            return read.users.by_email(canonical or "")

    def _upgrade(self, account: Account, password: str) -> str | None:
        """Make a hash of the current scheme and cost if the stored one is older; None if there is no time for it."""
        if not self._passwords.needs_upgrade(account.password_hash):
            return None
        try:
            return self._passwords.hash(password)
        except Overloaded:
            return None  # the next login upgrades it

    @retried
    def _start_session(
        self,
        account: Account,
        upgraded: str | None,
        origin: Origin,
        let_through: LetThrough,
        now: datetime,
        asked: AccessRequest,
    ) -> tuple[Session, str] | None:
        user_id, password_hash = account.user.id, account.password_hash
        with self._store.begin() as work:
            if upgraded and work.users.replace_password(
                user_id, old_hash=password_hash, new_hash=upgraded, at=account.user.updated_at
            ):
                password_hash = upgraded
            user = work.users.lock_credentials(user_id, password_hash)
            if user is None:
                return None
            session = self._sessions.start(work, user, origin, now, asked)
            device_token = self._devices.remember(work, user_id, session.id, let_through.device, now)
            self._throttle.record_success(work, let_through.attempt)
            work.audit.add(event(EventKind.LOGGED_IN, at=now, origin=origin, user_id=user_id, session_id=session.id))
            work.commit()
        return session, device_token

    @retried
    def _refuse_unverified(self, account: Account, origin: Origin) -> None:
        """Send another link: the first one may have expired, and only a logged-in user can request one."""
        now, user_id = self._clock.now(), account.user.id
        with self._store.begin() as work:
            if work.users.lock(user_id) is None:
                raise InvalidCredentials  # the account was deleted since its password was checked
            work.audit.add(event(EventKind.LOGIN_FAILED, at=now, origin=origin, user_id=user_id))
            work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, origin=origin, user_id=user_id))
            work.commit()

    @retried
    def _record_failure(self, account: Account | None, attempt: Attempt, origin: Origin) -> None:
        """Commit the event before the refusal is raised, for known and unknown addresses alike."""
        with self._store.begin() as work:
            user_id = account.user.id if account else None
            self._throttle.record_failure(work, attempt, origin)
            work.audit.add(event(EventKind.LOGIN_FAILED, at=self._clock.now(), origin=origin, user_id=user_id))
            work.commit()
