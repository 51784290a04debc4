"""The origin of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The address, user agent, id and languages of a request."""

    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    languages: str = ""
    """The Accept-Language header, unchanged."""


LOCAL_ORIGIN = Origin()
"""The origin of changes without a request: by the command line or by the service itself."""
