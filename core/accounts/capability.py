"""What accounts add to the service."""

from core.accounts.operations import OPERATIONS
from core.accounts.problems import PROBLEMS
from core.capability import Capability
from core.contract.operation import Tag

ACCOUNTS = Capability(
    name="accounts",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={Tag.ACCOUNTS: "Sign up, and what owners change about themselves."},
)
