"""The store as the core sees it: units of work over the ports of the nouns."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from core.audit.model import AuditLog
from core.mail.model import OneTimeTokens, Outbox
from core.oauth.model import Clients
from core.sessions.model import Sessions
from core.throttling.model import Counters
from core.tokens.model import Keys, Revocations
from core.users.model import Users

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Port(Generic[P]):
    """The name of a port that a capability outside the core brings along, and its type."""

    name: str


class UnitOfWork(Protocol):
    """The ports inside one transaction. Leaving it without `commit` undoes everything."""

    @property
    def users(self) -> Users:
        """The accounts."""
        ...

    @property
    def sessions(self) -> Sessions:
        """The sessions."""
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
        """What verifiers must be told."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The messages on their way."""
        ...

    @property
    def one_time_tokens(self) -> OneTimeTokens:
        """The tokens in links."""
        ...

    @property
    def counters(self) -> Counters:
        """What was attempted too often."""
        ...

    @property
    def audit(self) -> AuditLog:
        """The audit log."""
        ...

    def port(self, key: Port[P]) -> P:
        """The port of a capability outside the core.

        Raises:
            KeyError: the store was opened without it.

        """
        ...

    def commit(self) -> None:
        """Make everything so far durable, and then wake whoever sends mail where a message was stored."""
        ...


class Store(Protocol):
    """Where the data lives.

    Everything here and in the ports raises `DatabaseUnavailable` when the database cannot be reached in time.
    """

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction that may write."""
        ...

    def reading(self) -> AbstractContextManager[UnitOfWork]:
        """Open for single reads, each its own statement without a transaction around it."""
        ...

    def on_message(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called after each commit that stored a message."""
        ...

    def check(self) -> None:
        """Ask whether the database answers and has the schema of this version, or a newer one.

        Raises:
            NotReady: it has an older schema, or none.

        """
        ...

    def close(self) -> None:
        """Give all connections back."""
        ...
