"""Which pages of other origins may read answers (CORS, as the Fetch standard has it)."""

from collections.abc import Iterable

from core.contract.answer import Headers
from core.http.edge.request_head import Fields

PREFLIGHT_SECONDS = 600


class Cors:
    """The origins that the operator named; without any, no answer speaks of origins."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    @property
    def vary(self) -> Headers:
        """What every answer carries, so that no cache gives that of one origin to another."""
        return (("Vary", "Origin"),) if self._origins else ()

    def on_answer(self, headers: Fields) -> Headers:
        """What the answer to a request with such headers carries."""
        origin = headers.get("origin")
        if origin not in self._origins:
            return self.vary
        return (
            *self.vary,
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "X-Request-ID, Retry-After, WWW-Authenticate"),
        )

    def on_preflight(self, headers: Fields, allowed: Iterable[str]) -> Headers:
        """What the answer to OPTIONS carries besides, where a browser asks whether it may send another request."""
        asked = "access-control-request-method" in headers
        if not asked or headers.get("origin") not in self._origins:
            return ()
        return (
            ("Access-Control-Allow-Methods", ", ".join(allowed)),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-ID"),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        )
