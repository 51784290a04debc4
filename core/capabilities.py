"""The one list of capabilities, and the contract that they make."""

from collections.abc import Callable, Iterable
from typing import Any

from core.accounts.capability import ACCOUNTS
from core.audit.capability import AUDIT
from core.authentication.capability import AUTHENTICATION
from core.capability import Capability
from core.contract.contract import Contract
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
    OAUTH,
    TOKENS,
    MAIL,
    THROTTLING,
    AUDIT,
    SITE,
)


def contract_of(capabilities: Iterable[Capability]) -> Contract:
    """The contract that capabilities make together.

    Raises:
        ValueError: two of their operations have one id, or stand at one place.

    """
    given = tuple(capabilities)
    return Contract.of(
        operations=(operation for one in given for operation in one.operations),
        problems=(one.problems for one in given),
        tags=(one.tags for one in given),
    )


def ports_of(capabilities: Iterable[Capability]) -> dict[Port[Any], Callable[[Any], Any]]:
    """The ports that capabilities bring along."""
    return {port: make for one in capabilities for port, make in one.ports.items()}


CONTRACT = contract_of(CAPABILITIES)
"""What both doors answer where no further capability is brought along."""
