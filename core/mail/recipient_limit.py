"""The rate limit of letters to an address whose owner has not proved it, whatever causes them.

Anybody can sign up with a stranger's address. The stranger's mailbox must not fill up, however many accounts use the
address and whatever happens to them. So these letters are counted by address, under a keyed hash that outlives every
account and does not show the address.
"""

from __future__ import annotations

from dataclasses import replace
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


class RecipientLimit:
    """Counts letters to addresses."""

    def __init__(self, *, key: bytes, settings: MailSettings) -> None:
        self._key = key
        self._limit = settings.mail_limit

    def count(
        self, work: UnitOfWork, topic: str, address: str, *, now: datetime, missed_after: timedelta | None = None
    ) -> bool:
        """Count a letter on a topic to an address; False, and not counted, if it is beyond the limit.

        The user is locked before the counter, here as everywhere, so that two transactions never deadlock.
        """
        key = self._key_of(topic, address)
        counted = with_letter(
            work.counters.lock([key], now=now)[key], now, limit=self._limit, missed_after=missed_after
        )
        if counted is not None:
            work.counters.save(key, counted, expires_at=now + LIMIT_WINDOW)
        return counted is not None

    def _key_of(self, topic: str, address: str) -> str:
        return counter_key(self._key, "letters_to_address", topic, canonical_or_none(address) or address)
