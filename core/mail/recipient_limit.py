"""The allowance of an address that nobody has proved to read: how many letters it is sent, whoever causes them.

Anybody can sign up with a stranger's address. What its account does then, what becomes of the account, and how many
accounts there are must not decide how much of the stranger's mailbox is filled. So these letters are counted for the
address, under a hash with a key of the service, which outlives every account and shows nobody the address.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from core.store import UnitOfWork
from core.throttling.model import Counter, counter_key
from core.users.addresses import canonical_or_none

LIMIT_WINDOW = timedelta(hours=1)


def with_letter(counter: Counter, now: datetime, *, limit: int, missed_after: timedelta | None) -> Counter | None:
    """The counter with one letter more, or None where that would be too many.

    It stands at nothing again when no letter has come for the whole window, so that there are never more than the limit
    in an hour, but for what is missed: a link that its reader cannot do without is sent beyond the limit when so much
    time has passed since the last letter. Otherwise whoever spends the allowance would keep the reader from any link.
    """
    passed = now - counter.at
    if passed >= LIMIT_WINDOW:
        return Counter(count=1, at=now)
    if counter.count < limit or (missed_after is not None and passed >= missed_after):
        return replace(counter, count=counter.count + 1, at=now)
    return None


class RecipientLimit:
    """Counts letters to addresses."""

    def __init__(self, *, key: bytes, limit: int) -> None:
        self._key = key
        self._limit = limit

    def count(
        self, work: UnitOfWork, topic: str, address: str, *, now: datetime, missed_after: timedelta | None = None
    ) -> bool:
        """Count a letter on a topic to an address; False where it is too much, which is not counted.

        The counter is held after the user, as by everybody who holds both.
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
