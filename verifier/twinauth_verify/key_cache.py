"""The issuer's keys as they were last fetched, and when to fetch them again; the verifiers do the fetching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinauth_verify.errors import Unavailable
from twinauth_verify.fetching import MAX_JWKS, Answer, FetchRequest
from twinauth_verify.keys import Key, Keys, read_jwks
from twinauth_verify.lru import Lru
from twinauth_verify.revocations import Revocations
from twinauth_verify.settings import Settings

# Without any keys every token is refused, so the next fetch comes sooner; Retry-After has the same value.
COOLDOWN_WITHOUT_KEYS = 1.0
# Where the feed says that a leaked key has ended, it is signed by a new one. Its holder must not put that off with
# tokens of unknown kids, each of which begins a whole cooldown; no token chooses the key of the feed.
COOLDOWN_OF_FEED = 1.0


@dataclass(frozen=True, slots=True)
class _Snapshot:
    keys: Keys
    fresh_until: float
    good_until: float


class KeyCache:
    """The last known good keys, at most one fetch a cooldown, and a bounded memory of unknown kids."""

    def __init__(self, settings: Settings, revocations: Revocations, timer: Callable[[], float]) -> None:
        self._settings = settings
        self._revocations = revocations
        self._timer = timer
        self._snapshot: _Snapshot | None = None
        self._last_fetch = float("-inf")
        self._unknown: Lru[str, float] = Lru(settings.unknown_kids)

    @property
    def fetch_request(self) -> FetchRequest:
        """The request that fetches the keys."""
        return FetchRequest(
            url=self._settings.keys_url,
            accept="application/jwk-set+json, application/json",
            max_bytes=MAX_JWKS,
            seconds=self._settings.timeout,
        )

    def get(self, kid: str) -> Key | None:
        """The key of this kid, or None if the issuer has none, or has ended it.

        Raises:
            Unavailable: no keys have been fetched, or they are too old.

        """
        snapshot = self._good()
        if snapshot is None:
            raise Unavailable
        return None if self._revocations.contain_key(kid) else snapshot.keys.get(kid)

    @property
    def has_any(self) -> bool:
        """Whether there are keys to verify with."""
        return self._good() is not None

    def knows(self, kid: str) -> bool:
        """Whether there is a key to verify with while another caller fetches."""
        snapshot = self._good()
        return snapshot is not None and kid in snapshot.keys

    def is_due(self, kid: str | None, *, of_feed: bool = False) -> bool:
        """Whether to fetch the keys now, for ``kid`` or for any.

        The follower of the feed renews the keys before they are stale, so that no token waits for them. The answer
        stays true during a fetch; the verifier lets only one caller fetch.
        """
        now, snapshot = self._timer(), self._snapshot
        if now < self._last_fetch + self._cooldown(of_feed=of_feed):
            return False
        ahead = 2 * self._settings.feed_wait if of_feed else 0
        if snapshot is None or now + ahead >= snapshot.fresh_until:
            return True
        if kid is None or kid in snapshot.keys or self._revocations.contain_key(kid):
            return False
        return of_feed or now >= (self._unknown.get(kid) or 0.0)

    def _cooldown(self, *, of_feed: bool) -> float:
        cooldown = self._settings.cooldown
        if of_feed:
            cooldown = min(cooldown, COOLDOWN_OF_FEED)
        return cooldown if self._snapshot is not None else min(cooldown, COOLDOWN_WITHOUT_KEYS)

    def accept(self, answer: Answer, kid: str | None) -> None:
        """Replace the keys by those that were fetched for ``kid``.

        Raises:
            ValueError: the answer has no usable keys; the former ones stay.

        """
        keys = read_jwks(answer.body)
        now, settings = self._timer(), self._settings
        fresh_for = settings.refresh_after if answer.max_age is None else answer.max_age
        self._snapshot = _Snapshot(keys, now + max(fresh_for, settings.cooldown), now + settings.keep_keys_for)
        self._last_fetch = now
        if kid is not None and kid not in keys:
            self._unknown.put(kid, now + settings.unknown_kid_ttl)

    def record_failure(self) -> None:
        """Start a whole cooldown after a failed fetch, however long the fetch took."""
        self._last_fetch = self._timer()

    @property
    def remembered_unknown(self) -> int:
        """The number of kids remembered as unknown."""
        return len(self._unknown)

    def _good(self) -> _Snapshot | None:
        snapshot = self._snapshot
        return snapshot if snapshot is not None and self._timer() < snapshot.good_until else None
