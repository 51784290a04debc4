"""The edge: what holds for every request before and after a framework sees it, decided once for both doors.

Request ids, refusals (405, OPTIONS, body and header limits, doubled headers), HEAD, security headers, CORS, the
access line, and the one opaque answer to an unknown error. `AsgiEdge` and `WsgiEdge` carry it to the two protocols.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from http import HTTPMethod, HTTPStatus

import structlog

from core.audit import Client
from core.errors import (
    AuthError,
    BodyTooLarge,
    HeadersTooLarge,
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
)
from core.http import problems
from core.http.client_address import client_address
from core.http.operations import API_POLICY, NO_STORE, OPERATIONS, Operation
from core.http.problems import Answer
from core.settings import Settings

MAX_BODY = 64 * 1024
MAX_FIELD = 8190  # gunicorn's own limit; uvicorn has none and passes 100 KB on
MAX_FIELDS = 100
PREFLIGHT_SECONDS = 600
HSTS = "max-age=31536000; includeSubDomains"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9.\-_]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

access_log = structlog.get_logger("access")
error_log = structlog.get_logger("error")


class Routes:
    """The paths of the contract and the operations behind them."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._fixed: dict[str, dict[str, Operation]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Operation]]] = []
        templates: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            templates.setdefault(operation.path, {})[operation.method.value] = operation
        for template, methods in templates.items():
            if "{" in template:
                self._patterns.append((re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(template))), methods))
            else:
                self._fixed[template] = methods

    def at(self, path: str) -> dict[str, Operation]:
        """The operations of a path by method; empty where the path is not ours."""
        if path in self._fixed:
            return self._fixed[path]
        return next((methods for pattern, methods in self._patterns if pattern.fullmatch(path)), {})


class Edge:
    """The settings of the edge; one a process, shared by all requests."""

    def __init__(self, settings: Settings) -> None:
        self.routes = Routes(OPERATIONS.values())
        self.origins = frozenset(settings.http.cors_origins)
        self._trusted = settings.http.trusted_proxies
        self.always = (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            *((("Strict-Transport-Security", HSTS),) if settings.public_url.startswith("https:") else ()),
        )

    def open(self, method: str, path: str, fields: Iterable[tuple[str, str]], peer: str) -> Exchange:
        """Begin an exchange: name it, find its operation, and bind both to everything that is logged meanwhile."""
        headers, too_large = _gather(fields)
        exchange = Exchange(self, method, path, headers, too_large=too_large)
        ip = client_address(peer, headers.get("x-forwarded-for"), self._trusted)
        exchange.client = Client(ip=ip, user_agent=headers.get("user-agent", ""), request_id=exchange.request_id)
        _current.set(exchange)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        return exchange


class Exchange:
    """One request and what becomes of it."""

    client: Client

    def __init__(self, edge: Edge, method: str, path: str, headers: Mapping[str, str], *, too_large: bool) -> None:
        self._edge = edge
        self._method = method
        self._path = path
        self._headers = headers
        self._too_large = too_large
        self._started = time.perf_counter()
        self._operations = edge.routes.at(path)
        self.is_head = method == HTTPMethod.HEAD
        # HEAD is GET without the body, so the framework is asked for GET where there is one (RFC 9110 9.3.2).
        self.method = HTTPMethod.GET.value if self.is_head and HTTPMethod.GET in self._operations else method
        self.operation = self._operations.get(self.method)
        given = headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)

    def refusal(self) -> Answer | None:
        """The answer where the edge itself has one, before the framework and before the body is read."""
        error = self._error()
        if error is not None:
            return self.answer(error)
        if self._operations and self._method == HTTPMethod.OPTIONS:
            return Answer(HTTPStatus.NO_CONTENT, (("Allow", ", ".join(self._allowed())), *self._preflight()))
        return None

    def answer(self, error: AuthError) -> Answer:
        """The answer to an error."""
        return problems.answer(error, self.request_id)

    def crash(self, error: Exception) -> Answer:
        """Log an unknown error whole and answer it with nothing but its request id."""
        error_log.error("unhandled error", path=self._path, exc_info=error)
        return self.answer(InternalError())

    def added_headers(self, status: int, present: Iterable[str]) -> list[tuple[str, str]]:
        """The headers that every answer carries, but those that it already has."""
        operation = self.operation
        cached = operation.cache if operation and status == operation.status else NO_STORE
        added = [
            ("X-Request-ID", self.request_id),
            *self._edge.always,
            ("Content-Security-Policy", operation.policy if operation else API_POLICY),
            ("Cache-Control", cached),
            *self._cross_origin(),
        ]
        names = {name.lower() for name in present}
        return [(name, value) for name, value in added if name.lower() not in names]

    def log(self, status: int) -> None:
        """Write the access line: the route, never the query, never a header."""
        access_log.info(
            "request",
            method=self._method,
            path=next(iter(self._operations.values())).path if self._operations else "unknown",
            status=status,
            milliseconds=round((time.perf_counter() - self._started) * 1000, 2),
            ip=self.client.ip,
        )

    def _error(self) -> AuthError | None:
        return self._error_of_headers() or self._error_of_path() or self._error_of_length()

    def _error_of_headers(self) -> AuthError | None:
        if self._too_large:
            return HeadersTooLarge()
        # Doubled fields arrive joined by a comma. No Host, bearer token or Basic credential contains one; which of
        # two a server obeys differs from server to server, and that is how a proxy is made to see another request.
        if not _HOST.fullmatch(self._headers.get("host", "")):
            return MalformedRequest("The request needs exactly one valid Host header.")
        if "," in self._headers.get("authorization", ""):
            return MalformedRequest("The request has more than one Authorization header.")
        return None

    def _error_of_path(self) -> AuthError | None:
        if self._path.startswith("//"):
            return NotFound()  # Werkzeug would take it for the path with one slash
        if self._operations and self.method not in (*self._operations, HTTPMethod.OPTIONS):
            return MethodNotAllowed(self._allowed())
        return None

    def _error_of_length(self) -> AuthError | None:
        length = self._headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return MalformedRequest("The Content-Length is not a number.")
        return BodyTooLarge() if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY else None

    def _allowed(self) -> list[str]:
        methods = {*self._operations, HTTPMethod.OPTIONS.value}
        if HTTPMethod.GET in methods:
            methods.add(HTTPMethod.HEAD.value)
        return sorted(methods)

    def _cross_origin(self) -> list[tuple[str, str]]:
        if not self._edge.origins:
            return []
        origin = self._headers.get("origin")
        if origin not in self._edge.origins:
            return [("Vary", "Origin")]
        return [
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "X-Request-ID, Retry-After, WWW-Authenticate"),
        ]

    def _preflight(self) -> list[tuple[str, str]]:
        asked = "access-control-request-method" in self._headers
        if not asked or self._headers.get("origin") not in self._edge.origins:
            return []
        return [
            ("Access-Control-Allow-Methods", ", ".join(self._allowed())),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-ID"),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        ]


status_of = problems.status_of

_current: ContextVar[Exchange] = ContextVar("exchange")


def current() -> Exchange:
    """The exchange that this code runs for."""
    return _current.get()


def _gather(fields: Iterable[tuple[str, str]]) -> tuple[dict[str, str], bool]:
    """Join repeated fields with a comma, as WSGI servers do, and say whether there is too much of them."""
    headers: dict[str, str] = {}
    count, too_large = 0, False
    for name, value in fields:
        count += 1
        too_large = too_large or len(name) + len(value) > MAX_FIELD
        lowered = name.lower()
        headers[lowered] = f"{headers[lowered]},{value}" if lowered in headers else value
    return headers, too_large or count > MAX_FIELDS
