"""What users add to the service."""

from core.capability import Capability
from core.users.problems import PROBLEMS

USERS = Capability(name="users", problems=PROBLEMS)
