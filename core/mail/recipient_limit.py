"""The rate limits of letters: to an address whose owner has not proved it, and by who requests them.

Anybody can sign up with a stranger's address. The stranger's mailbox must not fill up, however many accounts use the
address and whatever happens to them. So these letters are counted by address, under a keyed hash that outlives every
account and does not show the address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.clock import elapsed
from core.settings.groups import MailSettings
from core.store import UnitOfWork
from core.throttling.model import Counter, counter_key
from core.users.addresses import canonical_or_none

LIMIT_WINDOW = timedelta(hours=1)


def with_letter(counter: Counter, now: datetime, *, limit: int, missed_after: timedelta | None) -> Counter | None:
    """Return the counter with one more letter, or None if that would be too many.

    It starts again at zero after a whole window without a letter, so that there are never more than the limit in an
    hour. One exception: a link without which the user has none is sent beyond the limit, if ``missed_after`` has
    passed since the last letter. Otherwise an attacker who exhausts the limit would keep the user from any link.
    """
    passed = elapsed(counter.at, now)
    if passed >= LIMIT_WINDOW:
        return Counter(count=1, at=now)
    if counter.count < limit or (missed_after is not None and passed >= missed_after):
        return replace(counter, count=counter.count + 1, at=now)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A rate limit that a letter has to pass."""

    key: str
    letters: int
    missed_after: timedelta | None = None


class RecipientLimit:
    """Counts letters by their recipients, and by requesters where strangers request them."""

    def __init__(self, *, key: bytes, settings: MailSettings) -> None:
        self._key = key
        self._limit = settings.mail_limit

    def of_address(self, topic: str, address: str, *, requesters: int, missed_after: timedelta | None) -> Limit:
        """Make the limit of letters on a topic to an address, as many as so many requesters may cause."""
        key = self._key_of("letters_to_address", topic, address)
        return Limit(key=key, letters=self._limit * requesters, missed_after=missed_after)

    def of_requester(self, topic: str, address: str, block: str, *, missed_after: timedelta | None) -> Limit:
        """Make the limit of letters on a topic to an address that one address block requests."""
        key = self._key_of("letters_of_requester", topic, address, block)
        return Limit(key=key, letters=self._limit, missed_after=missed_after)

    def count(self, work: UnitOfWork, limits: Sequence[Limit], *, now: datetime) -> bool:
        """Count a letter under each limit; False, and not counted, if it is beyond one of them.

        The user is locked before the counters, here as everywhere, so that two transactions never deadlock.
        """
        if not limits:
            return True
        locked = work.counters.lock([limit.key for limit in limits], now=now)
        counted = {
            limit.key: with_letter(locked[limit.key], now, limit=limit.letters, missed_after=limit.missed_after)
            for limit in limits
        }
        allowed = {key: counter for key, counter in counted.items() if counter is not None}
        if len(allowed) < len(limits):
            return False
        for key, counter in allowed.items():
            work.counters.save(key, counter, expires_at=now + LIMIT_WINDOW)
        return True

    def _key_of(self, limit: str, topic: str, address: str, *further: str) -> str:
        return counter_key(self._key, limit, topic, canonical_or_none(address) or address, *further)
