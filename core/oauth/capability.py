"""What the OAuth endpoints and registered clients add to the service."""

from core.capability import Capability
from core.oauth.operations import OPERATIONS
from core.oauth.problems import PROBLEMS

OAUTH = Capability(
    name="oauth",
    operations=OPERATIONS,
    problems=PROBLEMS,
    kept={
        "clients": "an operator registers each, and tokens and events name it",
        "client_secrets": "an operator makes each, and a new one lets earlier ones expire",
    },
)
