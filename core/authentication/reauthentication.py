"""Re-authentication: a user repeats the password before a change that a stolen token alone must not allow."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.audit.model import EventKind, event
from core.authentication.attempts import PasswordAttempts
from core.authentication.errors import WrongPassword
from core.authentication.passwords.hasher import CHECKS, PasswordHasher
from core.clock import Clock
from core.errors import InvalidToken
from core.origin import Origin
from core.storage.retries import retried
from core.store import Store
from core.throttling.throttle import Attempt, Throttle
from core.users.model import Account, User


class Proof:
    """One re-authentication, and whether the change that it allows is done."""

    def __init__(self, reauthentication: "Reauthentication", user: User) -> None:
        self._reauthentication = reauthentication
        self._user = user
        self.is_done = False

    def check_password(self, password: str) -> Iterator[str]:
        """Yield the hash that the password matches, and again after it was replaced, until the change is done.

        A wrong password yields nothing. No connection is kept while a hash is computed, which takes a quarter of a
        second: the caller changes an account only if its hash is still this one. If it was replaced meanwhile, the new
        one is checked: either a login of the same user has upgraded it, and the password still matches, or it belongs
        to a new password, which does not match.

        Raises:
            InvalidToken: the account was deleted since the user was read.
            Overloaded: too many passwords are being checked.

        """
        for _ in range(CHECKS):
            stored = self._reauthentication.matching_hash(self._user, password)
            if stored is None:
                return
            yield stored
            if self.is_done:
                return


class Reauthentication:
    """Checks the password of a user who is known by a session or by a link."""

    def __init__(
        self, *, store: Store, clock: Clock, passwords: PasswordHasher, attempts: PasswordAttempts, throttle: Throttle
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._attempts = attempts
        self._throttle = throttle

    @contextmanager
    def proof(
        self, user: User, origin: Origin, *, failure: EventKind = EventKind.CONFIRMATION_FAILED
    ) -> Iterator[Proof]:
        """Count an attempt, which is no failure if the password was right.

        The caller makes its change inside, for each hash of `Proof.check_password`, until it succeeds.

        Raises:
            WrongPassword: the password is wrong, so the change was not made.
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        with self._attempts.attempt(user.email, origin) as let_through:
            proof = Proof(self, user)
            yield proof
        if not proof.is_done:
            self._record_failure(failure, user, let_through.attempt, origin)
            raise WrongPassword
        self._throttle.accept(let_through.attempt)

    def matching_hash(self, user: User, password: str) -> str | None:
        """Return the stored hash of the user if the password matches it and the account is active."""
        account = self._account(user)
        return account.password_hash if self._passwords.matches(password, account) else None

    @retried
    def _account(self, user: User) -> Account:
        with self._store.reading() as read:
            account = read.users.by_id(user.id)
        if account is None:
            raise InvalidToken
        return account

    @retried
    def _record_failure(self, kind: EventKind, user: User, attempt: Attempt, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin(user.id) as work:
            self._throttle.record_failure(work, attempt, origin)
            work.audit.add(event(kind, at=now, origin=origin, user_id=user.id))
            work.commit()
