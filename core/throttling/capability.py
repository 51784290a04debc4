"""What the throttle adds to the whole."""

from datetime import datetime

from core.capability import Capability
from core.settings.whole import Settings
from core.store import UnitOfWork
from core.throttling.problems import PROBLEMS


def purge(work: UnitOfWork, now: datetime, _settings: Settings, limit: int) -> int:
    """Delete counters that have no effect any more."""
    return work.counters.purge(now=now, limit=limit)


THROTTLING = Capability(name="throttling", problems=PROBLEMS, purges={"throttle_counters": purge})
