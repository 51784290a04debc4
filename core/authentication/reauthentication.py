"""Reauthentication: what is done for who knows the password of an account, and only as long as it is that one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.audit.model import EventKind, event
from core.authentication.errors import WrongPassword
from core.authentication.passwords.hasher import PasswordHasher
from core.clock import Clock
from core.errors import InvalidToken
from core.origin import Origin
from core.sessions.model import Principal
from core.storage.retries import retried
from core.store import Store
from core.throttling.throttle import Throttle
from core.users.model import Account

T = TypeVar("T")


def if_proven(
    password: str, *, by: PasswordHasher, find: Callable[[], Account | None], act: Callable[[Account], T | None]
) -> tuple[Account | None, T | None]:
    """Act for an active account whose password this is: who is meant, and what came of it.

    An address without an account costs what one with an account costs. No connection is held while the hash is
    computed, which takes a quarter of a second: so ``act`` looks whether the hash is still the one that was checked,
    and gives None where it is not.

    Raises:
        Overloaded: too many passwords are being checked.

    """
    account = None
    # Twice: a hash that was replaced while it was being checked is checked again. It was either upgraded by a login of
    # the same user, which takes nothing from the password, or belongs to a new password, which does not match.
    for _ in range(2):
        account = find()
        matches = by.verify(password, account.password_hash if account else None)
        if not matches or account is None or not account.user.is_active:
            return account, None
        if (outcome := act(account)) is not None:
            return account, outcome
    return account, None


class Reauthentication:
    """Asks a user who is logged in for the password, before what a stolen token alone must not do."""

    def __init__(self, *, store: Store, clock: Clock, passwords: PasswordHasher, throttle: Throttle) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._throttle = throttle

    def confirm(
        self,
        principal: Principal,
        password: str,
        origin: Origin,
        change: Callable[[str], bool],
        *,
        failure: EventKind = EventKind.CONFIRMATION_FAILED,
    ) -> None:
        """Make a change for who knows the current password, and not only holds a token.

        ``change`` is given the hash that was checked; it gives False where that is no longer the account's.

        Raises:
            InvalidToken: the account went away since the token was checked.
            WrongPassword: the password is wrong.
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        with self._passwords.reserve(), self._throttle.attempt(principal.user.email, origin) as attempt:
            _, is_changed = if_proven(
                password,
                by=self._passwords,
                find=lambda: self._account(principal),
                act=lambda account: change(account.password_hash) or None,
            )
        if not is_changed:
            self._record_failure(failure, principal, origin)
            raise WrongPassword
        self._throttle.forget(attempt)

    @retried
    def _account(self, principal: Principal) -> Account:
        with self._store.reading() as read:
            account = read.users.by_id(principal.user.id)
        if account is None:
            raise InvalidToken
        return account

    @retried
    def _record_failure(self, kind: EventKind, principal: Principal, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            work.audit.add(event(kind, at=now, origin=origin, user_id=principal.user.id))
            work.commit()
