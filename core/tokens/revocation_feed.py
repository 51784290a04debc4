"""The feed of revocations for services that verify tokens by themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from core.clock import Clock, new_id
from core.settings.groups import MAX_ACCESS_TTL
from core.storage.retries import retried
from core.store import Store, UnitOfWork
from core.tokens.key_ring import KeyRing
from core.tokens.model import Cursor, Revocation, RevocationKind, hash_of, parse_cursor

TYPE = "revocations+jwt"
MAX_WAIT = 25  # seconds; proxies cut connections that are silent for longer
POLL = 1.0  # seconds between two reads of a waiting request
# The number of waiting requests in a process. Each occupies a thread; further requests are answered at once.
MAX_WAITING = 8
MAX_BATCH = 1000
MAX_KEPT = 32  # answers, each up to 130 KB
BEGINNING = "0"
"""The cursor before every entry."""


def revoke(
    work: UnitOfWork,
    kind: RevocationKind,
    values: Iterable[str],
    *,
    at: datetime,
    not_before: datetime | None = None,
) -> None:
    """Add revocations to the feed, inside the unit of work that ends the tokens.

    ``not_before`` is a whole second, as in the feed and in the `iat` of tokens.
    """
    work.revocations.add(
        Revocation(
            id=new_id(at),
            kind=kind,
            value_hash=hash_of(value),
            not_before=not_before,
            expires_at=at + MAX_ACCESS_TTL,
        )
        for value in values
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A part of the feed: a signed text, and the cursor after it."""

    jws: str
    cursor: str
    is_empty: bool


Moment = tuple[Cursor | None, int]
"""The cursor behind the newest entry, and the second."""


class KeptAnswers:
    """The answers of one second, while no entry is newer, by the cursor that they answer."""

    def __init__(self) -> None:
        self._kept: tuple[Moment, dict[str | None, Feed]] = ((None, 0), {})

    def find(self, at: Moment, since: str | None) -> Feed | None:
        """Return the answer to a cursor."""
        kept_at, answers = self._kept
        return answers.get(since) if at == kept_at else None

    def keep(self, at: Moment, since: str | None, answer: Feed) -> Feed:
        """Keep an answer, unless many are kept: who knows cursors cannot fill the memory."""
        if self._kept[0] != at:
            self._kept = (at, {})
        if len(self._kept[1]) < MAX_KEPT:
            self._kept[1][since] = answer
        return answer


class RevocationFeed:
    """Answers requests for the feed, which may wait for new entries."""

    def __init__(
        self, *, store: Store, clock: Clock, ring: KeyRing, issuer: str, stopping: threading.Event | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._ring = ring
        self._issuer = issuer
        self._stopping = stopping or threading.Event()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._signing = threading.Lock()
        self._kept = KeptAnswers()

    def read(self, since: str | None, *, wait: int) -> Feed:
        """Return the entries after a cursor; if there are none, wait up to ``wait`` seconds for some.

        The cursor counts entries in the order in which they were committed: they are numbered afterwards, by one
        process at a time. A time or an id as cursor would miss entries whose transaction took longer.

        Raises:
            UnknownCursor: the cursor is not from this feed, or its entry has left it.

        """
        cursor, newest = parse_cursor(since), self._newest()
        answer = self._answer(since, cursor, newest)
        if not answer.is_empty or wait == 0 or not self._waiting.acquire(blocking=False):
            return answer
        try:
            newest = self._wait_for_news(newest, wait)
        finally:
            self._waiting.release()
        return self._answer(since, cursor, newest)

    def _wait_for_news(self, newest: Cursor | None, wait: int) -> Cursor | None:
        """Wait until there is a newer entry, and return the cursor behind it; after the time, the same."""
        deadline = time.monotonic() + wait
        latest = newest
        while latest == newest and time.monotonic() < deadline:
            if self._stopping.wait(min(POLL, max(0.0, deadline - time.monotonic()))):
                break  # this process stops: its callers ask another one
            latest = self._newest()
        return latest

    @retried
    def _newest(self) -> Cursor | None:
        """Return the cursor behind the newest entry, after the new ones have got their numbers."""
        with self._store.reading() as read:
            unnumbered = read.revocations.has_unnumbered()
        if unnumbered:
            self._number_new()
        with self._store.reading() as read:
            return read.revocations.newest()

    def _answer(self, since: str | None, cursor: Cursor | None, newest: Cursor | None) -> Feed:
        """Return the signed answer to a cursor, the same to every caller until there is news or a second has passed.

        Reading and signing a thousand entries for each anonymous caller would cost more than serving anybody else.
        """
        at = (newest, int(self._clock.now().timestamp()))
        kept = self._kept.find(at, since)
        if kept is not None:
            return kept
        entries, last = self._entries(cursor)
        # Signed by one caller while the others wait for it. The entries are read outside the lock: where the database
        # is slow, its callers must not wait one after another.
        with self._signing:
            return self._kept.find(at, since) or self._kept.keep(
                at, since, self._signed(since, entries, str(last) if last else BEGINNING)
            )

    @retried
    def _entries(self, cursor: Cursor | None) -> tuple[list[Revocation], Cursor | None]:
        with self._store.reading() as read:
            return read.revocations.after(cursor, now=self._clock.now(), limit=MAX_BATCH)

    @retried
    def _number_new(self) -> None:
        with self._store.begin() as work:
            work.revocations.number(limit=MAX_BATCH)
            work.commit()

    def _signed(self, since: str | None, entries: list[Revocation], cursor: str) -> Feed:
        if any(entry.kind is RevocationKind.KEY for entry in entries):
            self._ring.keys()  # reads it now: a key must not sign the entry that ends it
        key, private_key = self._ring.signer()
        payload = {
            "iss": self._issuer,
            "iat": int(self._clock.now().timestamp()),
            "since": since,
            "cursor": cursor,
            "revocations": [_entry(entry) for entry in entries],
        }
        header = {"typ": TYPE, "kid": key.kid}
        jws = jwt.encode(payload, private_key, algorithm=key.algorithm, headers=header)
        return Feed(jws=jws, cursor=cursor, is_empty=not entries)


def _entry(entry: Revocation) -> dict[str, Any]:
    members: dict[str, Any] = {"kind": entry.kind.value, "id": entry.value_hash}
    if entry.not_before is not None:
        members["not_before"] = int(entry.not_before.timestamp())
    return {**members, "exp": int(entry.expires_at.timestamp())}
