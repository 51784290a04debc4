"""Verification of addresses: the current one of an account, and a new one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from core.accounts.errors import InvalidVerificationToken, ProofRequired
from core.accounts.removal import remove_account
from core.audit.model import EventKind, event
from core.authentication.reauthentication import Reauthentication
from core.clock import Clock
from core.errors import InvalidToken
from core.mail.model import MessageKind, OneTimeToken, Purpose, message
from core.mail.one_time_tokens import find_link, revoke_links
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
        with self._reauthentication.proof(principal.user, origin) as proof:
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

    def verify(
        self, token: str, origin: Origin, *, password: str | None = None, principal: Principal | None = None
    ) -> None:
        """Verify the address that a token was sent to; a new address becomes the account's.

        The first verification of an account needs a session or the password of it as well: a stranger may have signed
        up with the address, and its owner, who reads the mail, would verify the stranger's account. None of that is
        needed for a change of address, which was asked for from inside a session with the password. A link that was
        used does nothing more: readers press twice, and mail programs open links before them.

        Raises:
            InvalidVerificationToken: it is malformed, expired or replaced, or another account has the address.
            ProofRequired: neither a session nor a password of the account came along; the link stays valid.
            WrongPassword: the password is wrong; the link stays valid.
            TooManyAttempts: too many passwords were wrong.
            Overloaded: too many passwords are being checked.

        """
        found = self._find(token, [Purpose.EMAIL_VERIFICATION, Purpose.EMAIL_CHANGE], or_used=True)
        if found.used_at is not None:
            return
        user = self._user(found)
        if not _needs_proof(found, user, principal):
            self._verify(found, origin)
        elif password is None:
            raise ProofRequired
        else:
            self._verify_with_password(found, user, password, origin)

    def disown(self, token: str, origin: Origin) -> None:
        """Delete a never verified account, because the owner of its address did not make it.

        Raises:
            InvalidVerificationToken: it is not the valid token of an account that was never verified.

        """
        self._disown(self._find(token, [Purpose.EMAIL_VERIFICATION]), origin)

    def _find(self, token: str, purposes: Sequence[Purpose], *, or_used: bool = False) -> OneTimeToken:
        found = find_link(self._store, token, purposes, now=self._clock.now(), or_used=or_used)
        if found is None:
            raise InvalidVerificationToken
        return found

    @retried
    def _user(self, found: OneTimeToken) -> User:
        with self._store.reading() as read:
            account = read.users.by_id(found.user_id)
        if account is None or not account.user.is_active:
            raise InvalidVerificationToken
        return account.user

    def _verify_with_password(self, found: OneTimeToken, user: User, password: str, origin: Origin) -> None:
        with self._reauthentication.proof(user, origin) as proof:
            for checked in proof.check_password(password):
                proof.is_done = self._verify(found, origin, password_hash=checked)

    @retried
    def _verify(self, found: OneTimeToken, origin: Origin, *, password_hash: str | None = None) -> bool:
        """Verify the address; False if the hash was replaced since it was checked."""
        now = self._clock.now()
        with self._store.begin() as work:
            user = _locked(work, found, password_hash)  # before the token, in the same order everywhere
            if user is None and password_hash is not None:
                return False
            if not work.one_time_tokens.use(found.id, at=now):
                return self._require_used(work, found)
            if found.purpose is Purpose.EMAIL_CHANGE:
                self._change(work, found, user, origin, now)
            else:
                if work.users.verify_email(found.user_id, at=now) is None:
                    raise InvalidVerificationToken
                work.audit.add(event(EventKind.EMAIL_VERIFIED, at=now, origin=origin, user_id=found.user_id))
            work.commit()
        return True

    def _require_used(self, work: UnitOfWork, found: OneTimeToken) -> bool:
        """Succeed if another request has used the token since it was found, and did not replace or revoke it."""
        current = work.one_time_tokens.by_id(found.id)
        if current is None or current.used_at is None:
            raise InvalidVerificationToken
        return True

    @retried
    def _disown(self, found: OneTimeToken, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            user = work.users.lock(found.user_id)  # before the token, in the same order everywhere
            if user is None or user.email_verified or not work.one_time_tokens.use(found.id, at=now):
                raise InvalidVerificationToken
            remove_account(work, user.id, EventKind.ACCOUNT_DISOWNED, at=now, origin=origin)
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
        revoke_links(work, after.id, at=now, keep=token.id)
        work.audit.add(event(EventKind.EMAIL_CHANGED, at=now, origin=origin, user_id=after.id))
        # Only an address that was verified is certainly the user's, and may take the account back.
        notice = MessageKind.EMAIL_CHANGED if before.email_verified else MessageKind.EMAIL_CORRECTED
        work.outbox.add(message(notice, at=now, origin=origin, user_id=after.id, address=before.email))


def _needs_proof(found: OneTimeToken, user: User, principal: Principal | None) -> bool:
    """Whether a link needs more than itself: it is of a signup, and comes without a session of that account."""
    if found.purpose is Purpose.EMAIL_CHANGE or user.email_verified:
        return False
    return principal is None or principal.user.id != user.id


def _locked(work: UnitOfWork, found: OneTimeToken, password_hash: str | None) -> User | None:
    """Lock the user of a token; with a hash, only if it is still this one."""
    if password_hash is None:
        return work.users.lock(found.user_id)
    return work.users.lock_credentials(found.user_id, password_hash)
