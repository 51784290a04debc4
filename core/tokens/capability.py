"""What tokens, keys and revocations add to the service."""

from datetime import datetime

from core.capability import Capability
from core.contract.operation import Tag
from core.settings.whole import Settings
from core.store import UnitOfWork
from core.tokens.operations import OPERATIONS
from core.tokens.problems import PROBLEMS


def purge(work: UnitOfWork, now: datetime, _settings: Settings, limit: int) -> int:
    """Delete revocations of tokens that have expired."""
    return work.revocations.purge(now=now, limit=limit)


TOKENS = Capability(
    name="tokens",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={Tag.DISCOVERY: "What other services read to verify tokens, and what error codes mean."},
    purges={"revocations": purge},
    kept={
        "signing_keys": "the key ring drops the keys whose last token has expired when it publishes a new one",
        "revocation_feed": "one row",
    },
)
