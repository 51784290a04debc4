"""Verification of addresses: the one an account has, and the one it is to have."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from core.audit import Client, EventKind, event
from core.clock import Clock
from core.confirmation import Confirmation
from core.counters import CounterKind
from core.email_tokens import EmailToken, Purpose, digest_of, end_links
from core.emails import EmailAddress, parse_email
from core.errors import EmailTaken, InvalidToken, InvalidVerificationToken
from core.outbox import MessageKind, message
from core.retries import retried
from core.sessions import Principal
from core.throttle import Throttle
from core.users import User

if TYPE_CHECKING:
    from core.store import Store, UnitOfWork


class Verification:
    """Use cases in which an owner proves to read the mail of an address."""

    def __init__(self, *, store: Store, clock: Clock, confirmation: Confirmation, throttle: Throttle) -> None:
        self._store = store
        self._clock = clock
        self._throttle = throttle
        self._confirmation = confirmation

    def request(self, principal: Principal, client: Client) -> None:
        """Send the user a link; one whose address is verified is sent none.

        Raises:
            TooManyAttempts: too much mail was asked for from this address block.

        """
        self._throttle.count(CounterKind.MAIL_FROM_BLOCK, client)
        self._request(principal, client)

    @retried
    def _request(self, principal: Principal, client: Client) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            if work.users.hold(principal.user.id) is None:
                raise InvalidToken  # the account went away since the token was checked
            work.outbox.add(message(MessageKind.EMAIL_VERIFICATION, at=now, client=client, user_id=principal.user.id))
            work.commit()

    def request_change(self, principal: Principal, new_email: str, current_password: str, client: Client) -> None:
        """Send a link to a new address, and a notice to the one that the account keeps until the link is followed.

        Whether the new address has an account is found out when the message is sent, and told to its owner alone.

        Raises:
            InvalidInput: it is not an e-mail address.
            WrongPassword: the password is wrong.
            TooManyAttempts: too many passwords were wrong, or too much mail was asked for from this address block.
            Overloaded: too many passwords are being checked.

        """
        address = parse_email(new_email, field="new_email")
        self._throttle.count(CounterKind.MAIL_FROM_BLOCK, client)
        self._confirmation.confirm(
            principal,
            current_password,
            client,
            lambda checked: self._request_change(principal, address, checked, client),
        )

    @retried
    def _request_change(self, principal: Principal, new: EmailAddress, password_hash: str, client: Client) -> bool:
        now = self._clock.now()
        with self._store.begin() as work:
            user = work.users.hold_credentials(principal.user.id, password_hash)
            if user is None:
                return False
            for kind, address in (
                (MessageKind.EMAIL_CHANGE, new.address),
                (MessageKind.EMAIL_CHANGE_REQUESTED, user.email),
            ):
                work.outbox.add(message(kind, at=now, client=client, user_id=user.id, address=address))
            work.audit.add(
                event(
                    EventKind.EMAIL_CHANGE_REQUESTED,
                    at=now,
                    client=client,
                    user_id=user.id,
                    session_id=principal.session_id,
                )
            )
            work.commit()
        return True

    def verify(self, token: str, client: Client) -> None:
        """Verify the address that a token was sent to, and where it is a new one, let the account have it.

        Raises:
            InvalidVerificationToken: it is junk, expired, used or replaced, or another account has the address.

        """
        digest = digest_of(token)
        if digest is None:
            raise InvalidVerificationToken
        self._verify(digest, client)

    @retried
    def _verify(self, digest: bytes, client: Client) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            found = work.email_tokens.find(digest, [Purpose.EMAIL_VERIFICATION, Purpose.EMAIL_CHANGE], now=now)
            if found is None:
                raise InvalidVerificationToken
            user = work.users.hold(found.user_id)  # before the token, as everybody does who takes both
            if not work.email_tokens.use(found.id, at=now):
                raise InvalidVerificationToken
            if found.purpose is Purpose.EMAIL_CHANGE:
                self._change(work, found, user, client, now)
            else:
                if work.users.verify_email(found.user_id, at=now) is None:
                    raise InvalidVerificationToken
                work.audit.add(event(EventKind.EMAIL_VERIFIED, at=now, client=client, user_id=found.user_id))
            work.commit()

    def _change(self, work: UnitOfWork, token: EmailToken, before: User | None, client: Client, now: datetime) -> None:
        address = parse_email(token.address)
        try:
            after = work.users.set_email(token.user_id, address.address, canonical_email=address.canonical, at=now)
        except EmailTaken:
            raise InvalidVerificationToken from None
        if before is None or after is None:
            raise InvalidVerificationToken  # the account was deactivated
        end_links(work, after.id, at=now)
        work.audit.add(event(EventKind.EMAIL_CHANGED, at=now, client=client, user_id=after.id))
        work.outbox.add(
            message(MessageKind.EMAIL_CHANGED, at=now, client=client, user_id=after.id, address=before.email)
        )
