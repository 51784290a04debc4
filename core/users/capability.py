"""What users add to the service."""

from core.capability import Capability
from core.users.problems import PROBLEMS

USERS = Capability(
    name="users",
    problems=PROBLEMS,
    kept={"users": "an account stays until its owner deletes it; then `core.accounts.deletion` erases it"},
)
