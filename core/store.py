"""The store as the core sees it: units of work with a port for each kind of data."""

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from core.accounts.model import UnverifiedAccounts
from core.audit.model import AuditLog
from core.devices.model import Devices
from core.mail.model import OneTimeTokens, Outbox
from core.oauth.model import Clients
from core.sessions.model import Sessions
from core.throttling.model import Counters
from core.tokens.model import Keys, Revocations
from core.users.model import Users

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Port(Generic[P]):
    """The name and the type of a port that a capability outside the core adds."""

    name: str


class UnitOfWork(Protocol):
    """The ports inside one transaction. Leaving it without `commit` rolls it back."""

    @property
    def users(self) -> Users:
        """The accounts."""
        ...

    @property
    def unverified_accounts(self) -> UnverifiedAccounts:
        """The accounts whose address was never verified."""
        ...

    @property
    def sessions(self) -> Sessions:
        """The sessions."""
        ...

    @property
    def devices(self) -> Devices:
        """The devices of accounts."""
        ...

    @property
    def keys(self) -> Keys:
        """The signing keys."""
        ...

    @property
    def clients(self) -> Clients:
        """The registered clients."""
        ...

    @property
    def revocations(self) -> Revocations:
        """The revocations for verifiers."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The messages to send."""
        ...

    @property
    def one_time_tokens(self) -> OneTimeTokens:
        """The tokens in links."""
        ...

    @property
    def counters(self) -> Counters:
        """The counters of the rate limits."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The audit log."""
        ...

    def port(self, key: Port[P]) -> P:
        """Return the port of a capability outside the core.

        Raises:
            KeyError: the store was opened without it.

        """
        ...

    def commit(self) -> None:
        """Commit everything so far, and then wake the workers that have something to do now."""
        ...


class Store(Protocol):
    """The database.

    All methods here and in the ports raise `DatabaseUnavailable` if the database cannot be reached in time.
    """

    def begin(
        self, account: uuid.UUID | None = None, *, turn_within: timedelta | None = None
    ) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction that may write.

        Those in the name of one account hold or wait for a few connections at once, and no more. A database with one
        writer at a time lets it wait for its turn as long as for any answer, or ``turn_within``.

        Raises:
            AccountBusy: there are too many in the name of this account.

        """
        ...

    def reading(self) -> AbstractContextManager[UnitOfWork]:
        """Open for single reads, each in its own statement without a transaction."""
        ...

    def on_message(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after each commit that stored a message."""
        ...

    def on_leftovers(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after each commit that left rows for the housekeeping to erase."""
        ...

    def check(self) -> None:
        """Check that the database answers and has the schema of this version, or a newer one.

        Raises:
            NotReady: it has an older schema, or none.

        """
        ...

    def erase_deleted(self) -> None:
        """Erase what deleted rows have left in files, as far as the database does not do so by itself."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
