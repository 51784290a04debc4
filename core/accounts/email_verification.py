"""Verification of addresses: the current one of an account, and a new one."""

from __future__ import annotations

from datetime import datetime

from core.accounts.errors import InvalidVerificationToken
from core.audit.model import EventKind, event
from core.authentication.reauthentication import Reauthentication
from core.clock import Clock
from core.errors import InvalidToken
from core.mail.model import MessageKind, OneTimeToken, Purpose, message
from core.mail.one_time_tokens import digest_of, revoke_links
from core.origin import Origin
from core.sessions.model import Principal
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.throttling.model import CounterKind
from core.throttling.throttle import Throttle
from core.users.addresses import EmailAddress, parse_email
from core.users.errors import EmailTaken
from core.users.model import User


class EmailVerification:
    """Use cases in which a user proves to read the mail of an address."""

    def __init__(self, *, store: Store, clock: Clock, reauthentication: Reauthentication, throttle: Throttle) -> None:
        self._store = store
        self._clock = clock
        self._throttle = throttle
        self._reauthentication = reauthentication

    def request(self, principal: Principal, origin: Origin) -> None:
        """Send the user a link; nothing is written if the address is verified already.

        Raises:
            TooManyAttempts: there were too many requests for mail from this address block.

        """
        if principal.user.email_verified:
            return
        self._throttle.limit(CounterKind.MAIL_FROM_BLOCK, origin)
        self._request(principal, origin)

    @retried
    def _request(self, principal: Principal, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin(principal.user.id) as work:
            if work.users.lock(principal.user.id) is None:
                raise InvalidToken  # the account was deleted since the token was checked
            work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, origin=origin, user_id=principal.user.id))
            work.commit()

    def request_change(self, principal: Principal, new_email: str, current_password: str, origin: Origin) -> None:
        """Send a link to the new address, and a notice to the current one, which stays until the link is followed.

        Nothing is written if the account has this address already, and it is verified.

        Whether the new address has an account is checked when the message is sent; only that account's owner learns it.

        Raises:
            InvalidInput: the new address is not an e-mail address.
            WrongPassword: the password is wrong.
            TooManyAttempts: too many passwords were wrong, or there were too many requests for mail.
            Overloaded: too many passwords are being checked.

        """
        address = parse_email(new_email, field="new_email")
        self._throttle.limit(CounterKind.MAIL_FROM_BLOCK, origin)
        with self._reauthentication.proof(principal, origin) as proof:
            for checked in proof.check_password(current_password):
                proof.is_done = self._request_change(principal, address, checked, origin)

    @retried
    def _request_change(self, principal: Principal, new: EmailAddress, password_hash: str, origin: Origin) -> bool:
        now = self._clock.now()
        with self._store.begin(principal.user.id) as work:
            user = work.users.lock_credentials(principal.user.id, password_hash)
            if user is None:
                return False
            if user.email == new.address and user.email_verified:
                return True
            for kind, address in (
                (MessageKind.EMAIL_CHANGE, new.address),
                (MessageKind.EMAIL_CHANGE_REQUESTED, user.email),
            ):
                work.outbox.add(message(kind, at=now, origin=origin, user_id=user.id, address=address))
            work.audit.add(
                event(
                    EventKind.EMAIL_CHANGE_REQUESTED,
                    at=now,
                    origin=origin,
                    user_id=user.id,
                    session_id=principal.session_id,
                )
            )
            work.commit()
        return True

    def verify(self, token: str, origin: Origin) -> None:
        """Verify the address that a token was sent to; a new address becomes the account's.

        Raises:
            InvalidVerificationToken: it is malformed, expired, used or replaced, or another account has the address.

        """
        self._verify(self._find(token), origin)

    @retried
    def _find(self, token: str) -> OneTimeToken:
        """Find a token without a lock: junk of strangers must not take SQLite's one writer."""
        digest = digest_of(token)
        if digest is None:
            raise InvalidVerificationToken
        with self._store.reading() as read:
            purposes = [Purpose.EMAIL_VERIFICATION, Purpose.EMAIL_CHANGE]
            found = read.one_time_tokens.find(digest, purposes, now=self._clock.now())
        if found is None:
            raise InvalidVerificationToken
        return found

    @retried
    def _verify(self, found: OneTimeToken, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            user = work.users.lock(found.user_id)  # before the token, in the same order everywhere
            if not work.one_time_tokens.use(found.id, at=now):
                raise InvalidVerificationToken
            if found.purpose is Purpose.EMAIL_CHANGE:
                self._change(work, found, user, origin, now)
            else:
                if work.users.verify_email(found.user_id, at=now) is None:
                    raise InvalidVerificationToken
                work.audit.add(event(EventKind.EMAIL_VERIFIED, at=now, origin=origin, user_id=found.user_id))
            work.commit()

    def _change(
        self, work: UnitOfWork, token: OneTimeToken, before: User | None, origin: Origin, now: datetime
    ) -> None:
        address = parse_email(token.address)
        try:
            after = work.users.set_email(token.user_id, address.address, canonical_email=address.canonical, at=now)
        except EmailTaken:
            raise InvalidVerificationToken from None
        if before is None or after is None:
            raise InvalidVerificationToken  # the account was deactivated
        revoke_links(work, after.id, at=now)
        work.audit.add(event(EventKind.EMAIL_CHANGED, at=now, origin=origin, user_id=after.id))
        work.outbox.add(
            message(MessageKind.EMAIL_CHANGED, at=now, origin=origin, user_id=after.id, address=before.email)
        )
