"""The settings of a verifier, each with its bounds."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import urlsplit

from twinauth_verify.tokens import Expectations

MAX_SKEW = 60
MAX_WAIT = 25  # seconds; the issuer waits no longer, because proxies cut silent connections
# The audience is quoted in a header; it comes from a setting, not from a request.
_QUOTABLE = re.compile(r"[ !#-\[\]-~]+")


class Tuning(TypedDict, total=False):
    """The optional settings of a verifier; `Settings` has their defaults."""

    jwks_url: str | None
    revocations_url: str | None
    follow_revocations: bool
    stale_after: float
    clock_skew: float
    timeout: float
    refresh_after: float
    cooldown: float
    keep_keys_for: float
    cached_tokens: int
    unknown_kids: int
    unknown_kid_ttl: float
    feed_wait: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a verifier. All times are seconds.

    Raises:
        ValueError: a setting is out of its bounds.

    """

    issuer: str
    """Exactly the `iss` of the tokens, and the address of the issuer."""
    audience: str
    """Exactly the `aud` of the tokens; also the realm of the 401."""
    jwks_url: str | None = None
    """The address of the keys, if it is not under the issuer's."""
    revocations_url: str | None = None
    """The address of the feed, if it is not under the issuer's."""
    follow_revocations: bool = True
    """If not, a token whose session has ended is accepted until it expires."""
    stale_after: float = 60.0
    """After this time without a good answer of the feed, every token is refused with `Unavailable`."""
    clock_skew: float = 30.0
    """The allowed difference between the issuer's clock and this one, at most 60."""
    timeout: float = 5.0
    """The time limit of one fetch."""
    refresh_after: float = 300.0
    """How long keys are fresh if the issuer sends no `max-age`."""
    cooldown: float = 10.0
    """The least time between two fetches of the keys, however many unknown kids come."""
    keep_keys_for: float = 86400.0
    """How long the last known good keys are used while the issuer is away."""
    cached_tokens: int = 4096
    """The number of verified tokens to remember."""
    unknown_kids: int = 1024
    """The number of unknown kids to remember."""
    unknown_kid_ttl: float = 30.0
    """How long a kid is remembered as unknown."""
    feed_wait: int = 25
    """How long the issuer may keep a request for the feed waiting until there is a revocation, at most 25."""

    def __post_init__(self) -> None:
        for url in (self.issuer, self.keys_url, self.feed_url):
            _require(_is_safe(url), f"{url!r} must be https, or http to a loopback address")
        _require(_QUOTABLE.fullmatch(self.audience) is not None, "audience must be printable ASCII without quotes")
        _require(0 <= self.clock_skew <= MAX_SKEW, f"clock_skew must be from 0 to {MAX_SKEW}")
        _require(1 <= self.feed_wait <= MAX_WAIT, f"feed_wait must be from 1 to {MAX_WAIT}")
        _require(self.stale_after > self.feed_wait, "stale_after must be longer than feed_wait")
        times = (self.timeout, self.refresh_after, self.cooldown, self.keep_keys_for, self.unknown_kid_ttl)
        _require(min(times) > 0, "times must be longer than 0")
        _require(min(self.cached_tokens, self.unknown_kids) >= 0, "sizes must not be negative")

    @property
    def keys_url(self) -> str:
        """The address of the keys."""
        return self.jwks_url or f"{self.issuer.rstrip('/')}/.well-known/jwks.json"

    @property
    def feed_url(self) -> str:
        """The address of the feed of revocations."""
        return self.revocations_url or f"{self.issuer.rstrip('/')}/v1/revocations"

    @property
    def expectations(self) -> Expectations:
        """The claims that a token must have."""
        return Expectations(issuer=self.issuer, audience=self.audience, clock_skew=self.clock_skew)


def is_loopback(url: str) -> bool:
    """Whether a URL never leaves this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url))


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion
    if not condition:
        raise ValueError(message)
