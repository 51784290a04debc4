"""Password reset: a link to the address, and a new password for its token."""

from __future__ import annotations

from core.accounts.errors import InvalidResetToken
from core.audit.model import EventKind, event
from core.authentication.attempts import requester
from core.authentication.passwords.hasher import PasswordHasher
from core.authentication.passwords.policy import PasswordPolicy
from core.clock import Clock
from core.devices.service import DeviceService
from core.mail.model import MessageKind, OneTimeToken, Purpose, message
from core.mail.one_time_tokens import find_link, revoke_links
from core.origin import Origin
from core.sessions.model import EndReason
from core.sessions.service import end_sessions
from core.storage.retries import retried
from core.store import Store
from core.throttling.model import CounterKind
from core.throttling.throttle import Throttle
from core.users.addresses import parse_email


class PasswordReset:
    """Use cases of users who have forgotten the password, or whose account was taken over."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        passwords: PasswordHasher,
        throttle: Throttle,
        policy: PasswordPolicy,
        devices: DeviceService,
    ) -> None:
        self._store = store
        self._clock = clock
        self._passwords = passwords
        self._throttle = throttle
        self._policy = policy
        self._devices = devices

    def request(self, email: str, origin: Origin) -> None:
        """Request a link.

        One row is written for any address; whether it has an account is checked when the message is sent. So neither
        the answer nor its timing reveals whether an account exists.

        Raises:
            InvalidInput: it is not an e-mail address.
            TooManyAttempts: there were too many requests for mail from this address block.

        """
        address = parse_email(email)
        self._throttle.limit(CounterKind.MAIL_FROM_BLOCK, origin)
        self._store_request(address.canonical, origin)

    @retried
    def _store_request(self, canonical_email: str, origin: Origin) -> None:
        now = self._clock.now()
        with self._store.begin() as work:
            work.outbox.add(message(MessageKind.PASSWORD_RESET, at=now, origin=origin, canonical_email=canonical_email))
            work.commit()

    def reset(self, token: str, new_password: str, origin: Origin, device_token: str | None = None) -> str | None:
        """Set a new password and end every session, without starting a new one.

        Every device is forgotten as well. A caller who brings the token of one, good or not, is returned a new one:
        whoever reads the mail of the address gets in at the next try, whatever strangers have spent.

        A user with the token reads the mail of the address, so the address is verified as well. If it never was
        before, a stranger may have made the account: everything that was set before goes, the name included.

        Raises:
            InvalidResetToken: the token is malformed, expired, used or replaced.
            InvalidInput: the password is refused; the token stays valid.
            Overloaded: too many passwords are being hashed; the token stays valid.

        """
        found = self._find(token)
        self._policy.check(new_password, address=found.address, field="new_password")
        with self._passwords.reserve(requester(found.address, origin)):
            new_hash = self._passwords.hash(new_password)
        return self._reset(found, new_hash, origin, wants_device=device_token is not None)

    def _find(self, token: str) -> OneTimeToken:
        found = find_link(self._store, token, [Purpose.PASSWORD_RESET], now=self._clock.now())
        if found is None:
            raise InvalidResetToken
        return found

    @retried
    def _reset(self, token: OneTimeToken, new_hash: str, origin: Origin, *, wants_device: bool) -> str | None:
        now = self._clock.now()
        with self._store.begin() as work:
            work.users.lock(token.user_id)  # before the token, in the same order everywhere
            if not work.one_time_tokens.use(token.id, at=now):
                raise InvalidResetToken  # another request has used it since
            user = work.users.reset_password(token.user_id, new_hash, at=now)
            if user is None:
                raise InvalidResetToken  # the account was deleted or deactivated
            revoke_links(work, user.id, at=now)
            end_sessions(work, user.id, at=now, reason=EndReason.PASSWORD_RESET)
            work.devices.forget_all(user.id)
            device_token = self._devices.remember(work, user.id, None, None, now) if wants_device else None
            self._throttle.trust_origin(work, user.email, origin)
            work.audit.add(event(EventKind.PASSWORD_RESET, at=now, origin=origin, user_id=user.id))
            work.outbox.add(
                message(MessageKind.PASSWORD_CHANGED, at=now, origin=origin, user_id=user.id, address=user.email)
            )
            work.commit()
        return device_token
