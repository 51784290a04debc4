"""Accounts: signing up, and changes that users make to their own account."""

from __future__ import annotations

from core.accounts.removal import remove_account
from core.audit.model import EventKind, event
from core.authentication.attempts import requester
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import PasswordPolicy
from core.authentication.reauthentication import Reauthentication
from core.clock import Clock, new_id
from core.errors import InvalidToken
from core.mail.model import MessageKind, message
from core.mail.one_time_tokens import revoke_links
from core.origin import Origin
from core.sessions.model import EndReason, Principal
from core.sessions.service import end_sessions
from core.settings.groups import MailSettings
from core.storage.retries import retried
from core.store import Store
from core.throttling.model import CounterKind
from core.throttling.throttle import Throttle
from core.users.addresses import EmailAddress, parse_email
from core.users.errors import EmailTaken
from core.users.model import Account, User


class Accounts:
    """Use cases of an account's owner."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        throttle: Throttle,
        reauthentication: Reauthentication,
        policy: PasswordPolicy,
        settings: MailSettings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._throttle = throttle
        self._reauthentication = reauthentication
        self._policy = policy
        self._settings = settings

    def sign_up(self, email: str, password: str, display_name: str | None, origin: Origin) -> User | None:
        """Create an account and send the user a link that verifies the address.

        An existing account with the address does not change, and its owner gets a notice. Where only verified
        addresses may log in, both cases return None and cost the same, so that the caller cannot tell them apart.

        Raises:
            InvalidInput: the address or the password is refused.
            EmailTaken: the address belongs to an account.
            TooManyAttempts: there were too many signups from this address block.
            Overloaded: too many passwords are being hashed.

        """
        address = parse_email(email)
        self._policy.check(password, address=address.address, field="password")
        signups = self._throttle.keys_of_block(CounterKind.SIGNUPS_FROM_BLOCK, origin)
        asking = requester(email, origin)
        self._passwords.require_room(asking)
        self._throttle.look(signups, origin)  # before it takes a place that others could have
        with self._passwords.reserve(asking):
            self._throttle.count(signups, origin)
            password_hash = self._passwords.hash(password)
        user = self._add(address, password_hash, display_name, origin)
        if self._settings.require_verified_email:
            return None
        if user is None:
            raise EmailTaken
        return user

    @retried
    def _add(self, address: EmailAddress, password_hash: str, display_name: str | None, origin: Origin) -> User | None:
        now = self._clock.now()
        user = User(
            id=new_id(now),
            email=address.address,
            email_verified=False,
            display_name=display_name,
            roles=(),
            is_active=True,
            created_at=now,
            updated_at=now,
        )
        with self._store.begin() as work:
            # No check first: of many equal signups at once, the unique constraint allows exactly one.
            added = work.users.add(Account(user=user, password_hash=password_hash), canonical_email=address.canonical)
            if added:
                work.audit.add(event(EventKind.SIGNED_UP, at=now, origin=origin, user_id=user.id))
                work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, origin=origin, user_id=user.id))
            else:
                work.audit.add(event(EventKind.SIGNUP_REPEATED, at=now, origin=origin))
                work.outbox.add(
                    message(MessageKind.SIGNUP_ATTEMPTED, at=now, origin=origin, canonical_email=address.canonical)
                )
            work.commit()
        return user if added else None

    def rename(self, principal: Principal, display_name: str | None, origin: Origin) -> User:
        """Set the display name, or remove it with None. Nothing is written if it is this one already."""
        user = self._current(principal)
        return user if user.display_name == display_name else self._rename(principal, display_name, origin)

    @retried
    def _current(self, principal: Principal) -> User:
        with self._store.reading() as read:
            account = read.users.by_id(principal.user.id)
        if account is None:
            raise InvalidToken  # the account was deleted since the token was checked
        return account.user

    @retried
    def _rename(self, principal: Principal, display_name: str | None, origin: Origin) -> User:
        now = self._clock.now()
        with self._store.begin(principal.user.id) as work:
            user = work.users.set_display_name(principal.user.id, display_name, at=now)
            if user is None:
                raise InvalidToken  # the account was deleted since the token was checked
            work.audit.add(event(EventKind.ACCOUNT_UPDATED, at=now, origin=origin, user_id=user.id))
            work.commit()
        return user

    def change_password(self, principal: Principal, current_password: str, new_password: str, origin: Origin) -> None:
        """Set a new password and end every other session.

        Raises:
            WrongPassword: the current one is wrong.
            InvalidInput: the new one is refused.
            Overloaded: too many passwords are being hashed.

        """
        self._policy.check(new_password, address=principal.user.email, field="new_password")
        with self._reauthentication.proof(principal.user, origin, failure=EventKind.PASSWORD_CHANGE_FAILED) as proof:
            for old_hash in proof.check_password(current_password):
                new_hash = self._passwords.hash(new_password)
                proof.is_done = self._replace_password(principal, old_hash, new_hash, origin)

    def delete(self, principal: Principal, current_password: str, origin: Origin) -> None:
        """Delete the account: nobody gets in from now on, and its address is free.

        What it leaves behind grows with its history, so the housekeeping erases it, which is woken for it
        (`core.accounts.deletion`).

        Raises:
            WrongPassword: the password is wrong.
            Overloaded: too many passwords are being checked.

        """
        with self._reauthentication.proof(principal.user, origin) as proof:
            for checked in proof.check_password(current_password):
                proof.is_done = self._delete(principal, checked, origin)

    @retried
    def _delete(self, principal: Principal, password_hash: str, origin: Origin) -> bool:
        now = self._clock.now()
        user_id = principal.user.id
        with self._store.begin(user_id) as work:
            if work.users.lock_credentials(user_id, password_hash) is None:
                return False
            if not remove_account(work, user_id, EventKind.ACCOUNT_DELETED, at=now, origin=origin):
                return False
            work.commit()
        return True

    @retried
    def _replace_password(self, principal: Principal, old_hash: str, new_hash: str, origin: Origin) -> bool:
        now = self._clock.now()
        user_id = principal.user.id
        with self._store.begin(user_id) as work:
            if not work.users.replace_password(user_id, old_hash=old_hash, new_hash=new_hash, at=now):
                return False
            end_sessions(work, user_id, at=now, reason=EndReason.PASSWORD_CHANGED, keep=principal.session_id)
            work.devices.forget_all(user_id, keep_session=principal.session_id)
            revoke_links(work, user_id, at=now)
            work.outbox.add(
                message(
                    MessageKind.PASSWORD_CHANGED,
                    at=now,
                    origin=origin,
                    user_id=user_id,
                    address=principal.user.email,
                )
            )
            work.audit.add(
                event(
                    EventKind.PASSWORD_CHANGED,
                    at=now,
                    origin=origin,
                    user_id=user_id,
                    session_id=principal.session_id,
                )
            )
            work.commit()
        return True
