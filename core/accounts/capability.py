"""What accounts add to the service."""

from datetime import datetime

from core.accounts.operations import OPERATIONS
from core.accounts.problems import PROBLEMS
from core.accounts.removal import remove_account
from core.audit.model import EventKind
from core.capability import Capability
from core.contract.operation import Tag
from core.origin import LOCAL_ORIGIN
from core.settings.whole import Settings
from core.store import UnitOfWork

AT_ONCE = 50
"""Accounts in one transaction: each takes several statements, and SQLite's one writer is soon free again."""


def purge_unverified(work: UnitOfWork, now: datetime, settings: Settings, limit: int) -> int:
    """Delete accounts that were never verified and that nobody uses.

    Each is looked at when the time to live has passed since housekeeping first saw it, and again as long after it was
    found in use. So one that was imported, or is older than this rule, has the same time as a new one, and no minute
    reads all the accounts that are in use without being verified.
    """
    ttl = settings.mail.unverified_ttl
    if not ttl:
        return 0
    work.unverified_accounts.enrol(review_at=now + ttl, limit=limit)
    due = work.unverified_accounts.due(now=now, limit=min(limit, AT_ONCE))
    if not due:
        return 0
    unused = work.unverified_accounts.unused(due, since=now - ttl, now=now)
    for user_id in unused:
        remove_account(work, user_id, EventKind.ACCOUNT_EXPIRED, at=now, origin=LOCAL_ORIGIN)
    work.unverified_accounts.postpone(set(due).difference(unused), until=now + ttl)
    return len(unused)


ACCOUNTS = Capability(
    name="accounts",
    operations=OPERATIONS,
    problems=PROBLEMS,
    purges={"users": purge_unverified},
    tags={Tag.ACCOUNTS: "Sign up, and what owners change about themselves."},
)
