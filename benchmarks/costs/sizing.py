"""A model of the needs of many users: measured costs, and every assumption in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY = 86_400  # seconds
KIB, MIB, GIB = 1024, 1024**2, 1024**3
# Days that rows are kept: a session for its lifetime of 90 days and 7 more, a counter while a block is familiar.
SESSION_DAYS, COUNTER_DAYS, LINK_DAYS, MESSAGE_DAYS = 97, 90, 31, 1
# Requests a second of a verifier that gets new revocations each time; otherwise it sends one.
FASTEST_FOLLOWER = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """How users behave, for a day unless another time is named."""

    active: float = 0.30
    """Share of the users who are active on a day."""
    logins: float = 0.10
    """For each active user: a session lives for 90 days, and sometimes a device is new."""
    refreshes: float = 4.0
    """For each active user: an access token lives for 15 minutes."""
    whoamis: float = 20.0
    """For each active user."""
    logouts: float = 0.3
    """For each login."""
    signups: float = 0.3 / 365
    """For each user."""
    verifiers: float = 2.0
    """Processes of other services that follow the revocations, for each million users, at least four."""
    audit_days: float = 365.0
    """How long audit events are kept."""
    peak: float = 3.0
    """The busiest hour, as a multiple of the mean."""
    busy: float = 0.5
    """The share of its time that a core may be busy at that hour."""
    bloat: float = 1.3
    """The factor for space of updated and deleted rows until it is used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The measured cost of one operation."""

    door_ms: float
    """CPU of the door's processes."""
    database_ms: float
    """CPU of all processes of PostgreSQL."""
    statements: int = 0
    commits: float = 0.0
    wal: float = 0.0
    """Bytes of log, records alone."""
    wal_first: float = 0.0
    """Bytes of log if each page changes for the first time since a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The needs of a number of users."""

    users: int
    rates: dict[str, float]
    """Operations a second, at the peak."""
    door_cores: float
    hashing_cores: float
    """The part of them for hashing passwords."""
    database_cores: float
    commits: float
    """A second, at the peak."""
    wal: float
    """Bytes a second, at the peak, records alone."""
    wal_first: float
    """The same with a whole page for each first change."""
    storage: dict[str, float] = field(default_factory=dict)
    """Bytes, by table."""


def daily(users: int, assumed: Assumptions) -> dict[str, float]:
    """Return the number of each operation a day."""
    active = users * assumed.active
    logins = active * assumed.logins
    logouts = logins * assumed.logouts
    signups = users * assumed.signups
    events = logins + logouts + 2 * signups  # a verified address is the second
    return {
        "whoami": active * assumed.whoamis,
        "refresh": active * assumed.refreshes,
        "login": logins,
        "signup": signups,
        "logout": logouts,
        # In the long run as many rows are deleted as are added.
        "an audit event goes": events,
        "a session goes": logins,
    }


def rows(users: int, assumed: Assumptions) -> dict[str, float]:
    """Return the number of rows of each table in the long run."""
    times = daily(users, assumed)
    return {
        "users": users,
        "sessions": times["login"] * SESSION_DAYS,
        "audit_events": times["an audit event goes"] * assumed.audit_days,
        # The maximum: each login from another address block.
        "throttle_counters": times["login"] * COUNTER_DAYS,
        "email_tokens": times["signup"] * LINK_DAYS,
        "outbox": times["signup"] * MESSAGE_DAYS,
    }


def need(users: int, costs: dict[str, Cost], row_bytes: dict[str, float], hash_ms: float, assumed: Assumptions) -> Need:
    """Estimate the needs of this number of users."""
    rates = {name: times / DAY * assumed.peak for name, times in daily(users, assumed).items()}
    verifiers = max(4.0, assumed.verifiers * users / 10**6)
    rates["feed"] = verifiers * min(FASTEST_FOLLOWER, max(1.0, rates["logout"]))

    def total(part: str) -> float:
        return sum(rate * float(getattr(costs[name], part)) for name, rate in rates.items())

    return Need(
        users=users,
        rates=rates,
        door_cores=total("door_ms") / 1000 / assumed.busy,
        hashing_cores=(rates["login"] + rates["signup"]) * hash_ms / 1000 / assumed.busy,
        database_cores=total("database_ms") / 1000 / assumed.busy,
        commits=total("commits"),
        wal=total("wal"),
        wal_first=total("wal_first"),
        storage={
            table: count * row_bytes[table] * assumed.bloat for table, count in rows(users, assumed).items()
        },
    )  # fmt: skip
