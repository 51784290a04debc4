"""Where a request came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from, as plain values."""

    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    languages: str = ""
    """The Accept-Language, as it came."""


LOCAL_ORIGIN = Origin()
"""Nobody's request: done on the machine, by the command line or by the service itself."""
