"""What authentication adds to the service."""

from core.authentication.operations import OPERATIONS
from core.authentication.problems import PROBLEMS
from core.capability import Capability
from core.contract.operation import Tag

AUTHENTICATION = Capability(
    name="authentication",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={Tag.TOKENS: "Log in, refresh, log out, and ask whom a token speaks for."},
)
