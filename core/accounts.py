"""Accounts: signing up, and what owners change about themselves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from core.audit import AuditEvent, Client, EventKind, event
from core.clock import Clock, new_id
from core.confirmation import Confirmation
from core.counters import CounterKind
from core.email_tokens import EmailToken, end_links
from core.emails import parse_email
from core.errors import EmailTaken, InvalidToken
from core.outbox import Message, MessageKind, message
from core.password_policy import PasswordPolicy
from core.passwords import PasswordHasher
from core.retries import retried
from core.sessions import EndReason, Principal, Session, end_sessions
from core.throttle import Throttle
from core.users import Account, User

if TYPE_CHECKING:
    from core.emails import EmailAddress
    from core.store import Store

# Of an export: what a person causes in a year is far less, and what a program causes has no end.
MOST_EVENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Everything that is stored about a user, but for what only serves to check secrets."""

    at: datetime
    user: User
    sessions: list[Session]
    messages: list[Message]
    email_tokens: list[EmailToken]
    events: list[AuditEvent]
    """The newest `MOST_EVENTS`, oldest first."""
    has_older_events: bool


class Accounts:
    """Use cases of an account's owner."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        throttle: Throttle,
        confirmation: Confirmation,
        policy: PasswordPolicy,
        verified_only: bool,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._throttle = throttle
        self._confirmation = confirmation
        self._policy = policy
        self._verified_only = verified_only

    def sign_up(self, email: str, password: str, display_name: str | None, client: Client) -> User | None:
        """Create an account and send its owner a link that verifies the address.

        An account that has the address already is left as it is, and its owner told. Where only verified addresses
        may log in, the caller is not told which of the two happened (None), and both cost the same.

        Raises:
            InvalidInput: the address or the password is refused.
            EmailTaken: the address belongs to an account.
            TooManyAttempts: there were too many signups from this address block.
            Overloaded: too many passwords are being hashed.

        """
        address = parse_email(email)
        self._policy.check(password, address=address.address, field="password")
        with self._passwords.place():
            self._throttle.count(CounterKind.SIGNUPS_FROM_BLOCK, client)
            password_hash = self._passwords.hash(password)
        user = self._add(address, password_hash, display_name, client)
        if self._verified_only:
            return None
        if user is None:
            raise EmailTaken
        return user

    @retried
    def _add(self, address: EmailAddress, password_hash: str, display_name: str | None, client: Client) -> User | None:
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
            added = work.users.add(Account(user=user, password_hash=password_hash), canonical_email=address.canonical)
            if added:
                work.audit.add(event(EventKind.SIGNED_UP, at=now, client=client, user_id=user.id))
                work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, client=client, user_id=user.id))
            else:
                work.audit.add(event(EventKind.SIGNUP_REPEATED, at=now, client=client))
                work.outbox.add(
                    message(MessageKind.SIGNUP_ATTEMPTED, at=now, client=client, canonical_email=address.canonical)
                )
            work.commit()
        return user if added else None

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
        self._policy.check(new_password, address=principal.user.email, field="new_password")
        self._confirmation.confirm(
            principal,
            current_password,
            client,
            lambda old_hash: self._replace_password(principal, old_hash, self._passwords.hash(new_password), client),
            failure=EventKind.PASSWORD_CHANGE_FAILED,
        )

    def delete(self, principal: Principal, current_password: str, client: Client) -> None:
        """Remove the user and all that belongs to it; of the audit log, the network addresses.

        Raises:
            WrongPassword: the password is wrong.
            Overloaded: too many passwords are being checked.

        """
        self._confirmation.confirm(
            principal, current_password, client, lambda checked: self._delete(principal, checked, client)
        )

    @retried
    def _delete(self, principal: Principal, password_hash: str, client: Client) -> bool:
        now = self._clock.now()
        user_id = principal.user.id
        with self._store.begin() as work:
            if work.users.hold_credentials(user_id, password_hash) is None:
                return False
            end_sessions(work, user_id, at=now, reason=EndReason.ACCOUNT_DELETED)
            if (canonical := work.users.remove(user_id)) is None:
                return False
            # A request for a link names nobody yet, but the address.
            work.outbox.forget_address(canonical)
            work.audit.add(event(EventKind.ACCOUNT_DELETED, at=now, client=client, user_id=user_id))
            work.audit.forget_addresses(user_id)
            work.commit()
        return True

    @retried
    def export(self, principal: Principal, client: Client) -> Export:
        """Everything that is stored about the user, but events beyond the newest `MOST_EVENTS`.

        It is read outside a transaction, in which nobody else could write to SQLite. Recorded is it last, and only of
        an account that is still there: nothing is given out without its row, and nothing that was read is missing
        because the account was being deleted meanwhile.

        Raises:
            InvalidToken: the account went away meanwhile.

        """
        user_id = principal.user.id
        with self._store.reading() as read:
            sessions = read.sessions.of(user_id)
            messages = read.outbox.of(user_id)
            email_tokens = read.email_tokens.of(user_id)
            events = read.audit.of(user_id, limit=MOST_EVENTS + 1)
        user, exported = self._record_export(user_id, client)
        return Export(
            at=exported.at,
            user=user,
            sessions=sessions,
            messages=messages,
            email_tokens=email_tokens,
            events=[*events[-MOST_EVENTS:], exported],
            has_older_events=len(events) > MOST_EVENTS,
        )

    @retried
    def _record_export(self, user_id: uuid.UUID, client: Client) -> tuple[User, AuditEvent]:
        now = self._clock.now()
        exported = event(EventKind.ACCOUNT_EXPORTED, at=now, client=client, user_id=user_id)
        with self._store.begin() as work:
            user = work.users.hold(user_id)
            if user is None:
                raise InvalidToken  # the account went away since the token was checked
            work.audit.add(exported)
            work.commit()
        return user, exported

    @retried
    def _replace_password(self, principal: Principal, old_hash: str, new_hash: str, client: Client) -> bool:
        now = self._clock.now()
        user_id = principal.user.id
        with self._store.begin() as work:
            if not work.users.replace_password(user_id, old_hash=old_hash, new_hash=new_hash, at=now):
                return False
            end_sessions(work, user_id, at=now, reason=EndReason.PASSWORD_CHANGED, keep=principal.session_id)
            end_links(work, user_id, at=now)
            work.outbox.add(
                message(
                    MessageKind.PASSWORD_CHANGED,
                    at=now,
                    client=client,
                    user_id=user_id,
                    address=principal.user.email,
                )
            )
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
