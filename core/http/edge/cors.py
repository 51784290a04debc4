"""Answers for pages of other origins (CORS in the Fetch standard)."""

from collections.abc import Iterable

from core.contract.answer import Headers
from core.http.edge.request_head import Fields

PREFLIGHT_SECONDS = 600


class Cors:
    """The allowed origins from the settings; without any, no answer has CORS headers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    @property
    def vary(self) -> Headers:
        """The headers of every answer, so that caches do not mix answers of different origins."""
        return (("Vary", "Origin"),) if self._origins else ()

    def on_answer(self, headers: Fields) -> Headers:
        """Return the headers for the answer to a request with these headers."""
        origin = headers.get("origin")
        if origin not in self._origins:
            return self.vary
        return (
            *self.vary,
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "X-Request-ID, Retry-After, WWW-Authenticate"),
        )

    def on_preflight(self, headers: Fields, allowed: Iterable[str]) -> Headers:
        """Return further headers for the answer to OPTIONS, if it is a preflight request of an allowed origin."""
        is_preflight = "access-control-request-method" in headers
        if not is_preflight or headers.get("origin") not in self._origins:
            return ()
        return (
            ("Access-Control-Allow-Methods", ", ".join(allowed)),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-ID"),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        )
