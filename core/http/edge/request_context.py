"""The context of a request, from its head to its line in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPMethod, HTTPStatus

import structlog

from core.contract.answer import Answer, Headers
from core.contract.operation import API_POLICY, NO_STORE
from core.errors import AuthError, DatabaseUnavailable, InternalError, NotFound
from core.http.edge.cors import Cors
from core.http.edge.limits import fault_of
from core.http.edge.request_head import Fields, RequestHead
from core.http.edge.routing import Methods, allowed_methods, served_method
from core.http.problems import Problems
from core.origin import Origin

CONTEXT = "twinauth.context"
"""The key of the context in the scope (ASGI) and in the environ (WSGI)."""

access_log = structlog.get_logger("access")
error_log = structlog.get_logger("error")


class RequestContext:
    """One request, its operation and its answer."""

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
        prefix: str,
    ) -> None:
        self.prefix = prefix
        """The path of the service as the caller sees it, as a part of a URL."""
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
        self._is_open = any(operation.is_open for operation in methods.values())

    def begin(self) -> None:
        """Add its id to every line that is logged from now on."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self.origin.request_id)

    def refusal(self) -> Answer | None:
        """Return the edge's own answer, if it has one, before the framework and before the body is read."""
        fault = fault_of(self._head, self._headers, self._methods)
        is_served = fault is None or isinstance(fault, NotFound)
        if is_served and self._head.method == HTTPMethod.OPTIONS and (options := self._options()):
            return options
        return None if fault is None else self.answer(fault)

    def answer(self, error: AuthError) -> Answer:
        """Make the answer to an error."""
        if isinstance(error, DatabaseUnavailable):
            _log_cause(error)
        return self._problems.answer(error, self.origin.request_id, self.prefix)

    def crash(self, error: Exception) -> Answer:
        """Log an unknown error completely and answer with its request id only."""
        error_log.error("unhandled error", path=self._head.path, exc_info=error)
        return self.answer(InternalError())

    def added_headers(self, status: int, present: Iterable[str]) -> list[tuple[str, str]]:
        """Return the headers of every answer, except those that this one already has."""
        operation = self._operation
        cached = operation.cache if operation and status == operation.status else NO_STORE
        added = [
            ("X-Request-ID", self.origin.request_id),
            *self._always,
            ("Content-Security-Policy", operation.policy if operation and status == operation.status else API_POLICY),
            ("Cache-Control", cached),
            *self._cross_origin.on_answer(self._headers, is_open=self._is_open),
        ]
        # Several Vary fields are one list (RFC 9110 section 12.5.5), such as the language and the origin.
        names = {name.lower() for name in present} - {"vary"}
        return [(name, value) for name, value in added if name.lower() not in names]

    def log(self, status: int) -> None:
        """Log the request: the route, never the query, never a header."""
        access_log.info(
            "request",
            method=self._head.method,
            path=next(iter(self._methods.values())).path if self._methods else "unknown",
            status=int(status),
            milliseconds=round((time.perf_counter() - self._started) * 1000, 2),
            ip=self.origin.ip,
        )

    def _options(self) -> Answer | None:
        """The answer to OPTIONS; None for a path that the contract does not have.

        A preflight of such a path is answered: a page of a listed origin could not read the 404 that follows otherwise.
        `OPTIONS *` is about the server (RFC 9110 section 9.3.7), a ping.
        """
        allowed = allowed_methods(self._methods) if self._methods else []
        preflight = self._cross_origin.on_preflight(self._headers, allowed, is_open=self._is_open)
        named = (("Allow", ", ".join(allowed)),) if allowed else ()
        is_answered = named or preflight or self._head.path == "*"
        return Answer(HTTPStatus.NO_CONTENT, (*named, *preflight)) if is_answered else None


def _log_cause(error: DatabaseUnavailable) -> None:
    """Log the cause, which the caller does not see: the network, a lock or the disk."""
    raised = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    error_log.warning("database unavailable", error=type(raised).__name__, sqlstate=getattr(raised, "sqlstate", None))
