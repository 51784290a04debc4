"""Accounts: signing up, and what owners change about themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.audit import Client, EventKind, event
from core.clock import Clock, new_id
from core.emails import parse_email
from core.errors import InvalidToken, WrongPassword
from core.passwords import PasswordHasher, check_policy
from core.retries import retried
from core.sessions import EndReason, Principal, revoke_sessions
from core.users import Account, User

if TYPE_CHECKING:
    from core.emails import EmailAddress
    from core.store import Store


class Accounts:
    """Use cases of an account's owner."""

    def __init__(self, *, store: Store, clock: Clock, passwords: PasswordHasher, min_length: int) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._min_length = min_length

    def sign_up(self, email: str, password: str, display_name: str | None, client: Client) -> User:
        """Create an account.

        Raises:
            InvalidInput: the address or the password is refused.
            EmailTaken: the address belongs to an account.
            Overloaded: too many passwords are being hashed.

        """
        address = parse_email(email)
        check_policy(password, minimum=self._min_length, address=address.address, field="password")
        password_hash = self._passwords.hash(password)
        return self._add(address, password_hash, display_name, client)

    @retried
    def _add(self, address: EmailAddress, password_hash: str, display_name: str | None, client: Client) -> User:
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
            # No question first: of many equal signups at once, the unique constraint lets exactly one through.
            work.users.add(Account(user=user, password_hash=password_hash), canonical_email=address.canonical)
            work.audit.add(event(EventKind.SIGNED_UP, at=now, client=client, user_id=user.id))
            work.commit()
        return user

    @retried
    def rename(self, principal: Principal, display_name: str | None, client: Client) -> User:
        """Set the display name, or remove it with None."""
        now = self._clock.now()
        with self._store.begin() as work:
            user = work.users.set_display_name(principal.user.id, display_name, at=now)
            if user is None:
                raise InvalidToken  # the account went away since the token was checked
            work.audit.add(event(EventKind.ACCOUNT_UPDATED, at=now, client=client, user_id=user.id))
            work.commit()
        return user

    def change_password(self, principal: Principal, current_password: str, new_password: str, client: Client) -> None:
        """Set a new password and end every other session.

        Raises:
            WrongPassword: the current one is wrong.
            InvalidInput: the new one is refused.
            Overloaded: too many passwords are being hashed.

        """
        user = principal.user
        check_policy(new_password, minimum=self._min_length, address=user.email, field="new_password")
        # Twice: a login at the same moment may have upgraded the hash while it was being checked.
        for _ in range(2):
            old_hash = self._password_hash(principal)
            if not self._passwords.verify(current_password, old_hash):
                break
            if self._replace_password(principal, old_hash, self._passwords.hash(new_password), client):
                return
        self._record_failure(principal, client)
        raise WrongPassword

    @retried
    def _password_hash(self, principal: Principal) -> str:
        with self._store.reading() as read:
            account = read.users.by_id(principal.user.id)
        if account is None:
            raise InvalidToken
        return account.password_hash

    @retried
    def _replace_password(self, principal: Principal, old_hash: str, new_hash: str, client: Client) -> bool:
        now = self._clock.now()
        user_id = principal.user.id
        with self._store.begin() as work:
            if not work.users.replace_password(user_id, old_hash=old_hash, new_hash=new_hash, at=now):
                return False
            ended = work.sessions.end_all(user_id, at=now, reason=EndReason.PASSWORD_CHANGED, keep=principal.session_id)
            revoke_sessions(work, ended, at=now)
            work.audit.add(
                event(
                    EventKind.PASSWORD_CHANGED,
                    at=now,
                    client=client,
                    user_id=user_id,
                    session_id=principal.session_id,
                )
            )
            work.commit()
        return True

    @retried
    def _record_failure(self, principal: Principal, client: Client) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            work.audit.add(event(EventKind.PASSWORD_CHANGE_FAILED, at=now, client=client, user_id=principal.user.id))
            work.commit()
