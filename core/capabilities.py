"""The one list of capabilities, and their contract."""

from collections.abc import Callable, Iterable
from typing import Any

from core.accounts.capability import ACCOUNTS
from core.audit.capability import AUDIT
from core.authentication.capability import AUTHENTICATION
from core.capability import Capability
from core.contract.contract import Contract
from core.devices.capability import DEVICES
from core.mail.capability import MAIL
from core.oauth.capability import OAUTH
from core.sessions.capability import SESSIONS
from core.site.capability import SITE
from core.store import Port
from core.throttling.capability import THROTTLING
from core.tokens.capability import TOKENS
from core.users.capability import USERS

CAPABILITIES: tuple[Capability, ...] = (
    USERS,
    ACCOUNTS,
    AUTHENTICATION,
    SESSIONS,
    DEVICES,
    OAUTH,
    TOKENS,
    MAIL,
    THROTTLING,
    AUDIT,
    SITE,
)


def contract_of(capabilities: Iterable[Capability]) -> Contract:
    """Make the contract of these capabilities.

    Raises:
        ValueError: two of their operations have the same id, or the same method and path.

    """
    listed = tuple(capabilities)
    return Contract.of(
        operations=(operation for one in listed for operation in one.operations),
        problems=(one.problems for one in listed),
        tags=(one.tags for one in listed),
    )


def ports_of(capabilities: Iterable[Capability]) -> dict[Port[Any], Callable[[Any], Any]]:
    """Return the ports that these capabilities add."""
    return {port: make for one in capabilities for port, make in one.ports.items()}


CONTRACT = contract_of(CAPABILITIES)
"""The contract of both doors without further capabilities."""
