"""Answers for pages of other origins (CORS in the Fetch standard)."""

import re
from collections.abc import Iterable

from core.contract.answer import Headers
from core.http.edge.request_head import Fields
from core.http.edge.routing import METHODS

PREFLIGHT_SECONDS = 600
EXPOSED = "ETag, Retry-After, WWW-Authenticate, X-Request-ID"

_NAMES = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+(?:,[ ]?[!#$%&'*+.^`|~0-9A-Za-z_-]+)*")


class Cors:
    """The allowed origins from the settings; without any, no answer has CORS headers."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    @property
    def vary(self) -> Headers:
        """The headers of every answer, so that caches do not mix answers of different origins."""
        return (("Vary", "Origin"),) if self._origins else ()

    def on_answer(self, headers: Fields, *, is_open: bool) -> Headers:
        """Return the headers for the answer to a request with these headers.

        A listed origin may send credentials: HTTP authentication of a proxy in front, or cookies. Any other may read
        what is open to all.
        """
        origin = headers.get("origin")
        if origin not in self._origins:
            everybody = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED))
            return (*self.vary, *(everybody if is_open and origin is not None else ()))
        return (
            *self.vary,
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", EXPOSED),
        )

    def on_preflight(self, headers: Fields, allowed: Iterable[str], *, is_open: bool) -> Headers:
        """Return further headers for the answer to OPTIONS, if it is a preflight request of an allowed origin.

        A page may send the header fields and the method that it asks for. Tracers add fields of their own
        (`traceparent`, `sentry-trace`), and one that is refused fails every call. Of a method that the path has not,
        the page learns by the 405, which it could not read behind a refused preflight.
        """
        method = headers.get("access-control-request-method")
        if method is None or not (is_open or headers.get("origin") in self._origins):
            return ()
        fields = headers.get("access-control-request-headers", "")
        return (
            ("Access-Control-Allow-Methods", ", ".join(sorted({*allowed, *({method} & METHODS)}))),
            *((("Access-Control-Allow-Headers", fields),) if _NAMES.fullmatch(fields) else ()),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        )
