"""The context of a request: from the first look at its head to its line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPMethod, HTTPStatus

import structlog

from core.contract.answer import Answer, Headers
from core.contract.operation import API_POLICY, NO_STORE
from core.errors import AuthError, DatabaseUnavailable, InternalError
from core.http.edge.cors import Cors
from core.http.edge.limits import fault_of
from core.http.edge.request_head import Fields, RequestHead
from core.http.edge.routing import Methods, allowed_methods, served_method
from core.http.problems import Problems
from core.origin import Origin

CONTEXT = "twinauth.context"
"""Where the context of a request stands in the scope (ASGI) and in the environ (WSGI)."""

access_log = structlog.get_logger("access")
error_log = structlog.get_logger("error")


class RequestContext:
    """One request and what becomes of it."""

    def __init__(
        self,
        head: RequestHead,
        headers: Fields,
        *,
        origin: Origin,
        methods: Methods,
        problems: Problems,
        always: Headers,
        cross_origin: Cors,
    ) -> None:
        self._head = head
        self._headers = headers
        self.origin = origin
        self._methods = methods
        self._problems = problems
        self._always = always
        self._cross_origin = cross_origin
        self._started = time.perf_counter()
        self.is_head = head.method == HTTPMethod.HEAD
        self.method = served_method(head.method, methods)
        self._operation = methods.get(self.method)

    def begin(self) -> None:
        """Name it in everything that is logged meanwhile."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self.origin.request_id)

    def refusal(self) -> Answer | None:
        """The answer where the edge itself has one, before the framework and before the body is read."""
        fault = fault_of(self._head, self._headers, self._methods)
        if fault is not None:
            return self.answer(fault)
        if self._methods and self._head.method == HTTPMethod.OPTIONS:
            return self._options()
        return None

    def answer(self, error: AuthError) -> Answer:
        """The answer to an error."""
        if isinstance(error, DatabaseUnavailable):
            _log_cause(error)
        return self._problems.answer(error, self.origin.request_id)

    def crash(self, error: Exception) -> Answer:
        """Log an unknown error whole and answer it with nothing but its request id."""
        error_log.error("unhandled error", path=self._head.path, exc_info=error)
        return self.answer(InternalError())

    def added_headers(self, status: int, present: Iterable[str]) -> list[tuple[str, str]]:
        """The headers that every answer carries, but those that it already has."""
        operation = self._operation
        cached = operation.cache if operation and status == operation.status else NO_STORE
        added = [
            ("X-Request-ID", self.origin.request_id),
            *self._always,
            ("Content-Security-Policy", operation.policy if operation and status == operation.status else API_POLICY),
            ("Cache-Control", cached),
            *self._cross_origin.on_answer(self._headers),
        ]
        # Vary is a list over all its fields (RFC 9110 section 12.5.5): both the language and the origin.
        names = {name.lower() for name in present} - {"vary"}
        return [(name, value) for name, value in added if name.lower() not in names]

    def log(self, status: int) -> None:
        """Write the access line: the route, never the query, never a header."""
        access_log.info(
            "request",
            method=self._head.method,
            path=next(iter(self._methods.values())).path if self._methods else "unknown",
            status=int(status),
            milliseconds=round((time.perf_counter() - self._started) * 1000, 2),
            ip=self.origin.ip,
        )

    def _options(self) -> Answer:
        allowed = allowed_methods(self._methods)
        preflight = self._cross_origin.on_preflight(self._headers, allowed)
        return Answer(HTTPStatus.NO_CONTENT, (("Allow", ", ".join(allowed)), *preflight))


def _log_cause(error: DatabaseUnavailable) -> None:
    """Say in the log what the caller is not told: whether it is the network, a lock or the disk."""
    raised = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    error_log.warning("database unavailable", error=type(raised).__name__, sqlstate=getattr(raised, "sqlstate", None))
