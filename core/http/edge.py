"""The edge: what holds for every request before and after a framework sees it, decided once for both doors.

Request ids, refusals (405, OPTIONS, body and header limits, doubled headers), HEAD, security headers, CORS, the
access line, and the one opaque answer to an unknown error. `AsgiEdge` and `WsgiEdge` carry it to the two protocols.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPMethod, HTTPStatus

import structlog

from core.audit import Client
from core.errors import (
    AuthError,
    BodyTooLarge,
    DatabaseUnavailable,
    HeadersTooLarge,
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    TargetTooLong,
)
from core.http import problems
from core.http.answer import Answer
from core.http.client_address import client_address
from core.http.operations import API_POLICY, NO_STORE, OPERATIONS, Operation
from core.settings import Settings

MAX_BODY = 64 * 1024
MAX_FIELD = 8190  # gunicorn's own limit; uvicorn has none and passes 100 KB on
MAX_FIELDS = 100
MAX_SECONDS = 10  # for a whole request to arrive; the servers hold to it
MAX_TARGET = 4000  # gunicorn takes a request line of 4094
CONTINUE = "100-continue"
PREFLIGHT_SECONDS = 600
HSTS = "max-age=31536000; includeSubDomains"

_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
_METHODS = frozenset(method.value for method in HTTPMethod)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Labels as DNS has them: Werkzeug refuses others, Starlette does not look.
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """The first line and the header fields of a request, as plain values."""

    method: str
    path: str
    target_length: int
    version: str
    fields: Iterable[tuple[str, str]]
    peer: str


class Edge:
    """The settings of the edge; one a process, shared by all requests."""

    def __init__(self, settings: Settings, *, door: str) -> None:
        self.routes = Routes(OPERATIONS.values())
        self.origins = frozenset(settings.http.cors_origins)
        self._trusted = settings.http.trusted_proxies
        self.always = (
            *_ALWAYS,
            *((("Strict-Transport-Security", HSTS),) if settings.public_url.startswith("https:") else ()),
            *((("X-Served-By", door),) if settings.http.served_by else ()),
        )

    def open(self, head: RequestHead) -> Exchange:
        """Begin an exchange: name it, find its operation, and bind both to everything that is logged meanwhile."""
        exchange = Exchange(self, head)
        forwarded_for = exchange.headers.get("x-forwarded-for")
        exchange.client = Client(
            ip=client_address(head.peer, forwarded_for, self._trusted),
            user_agent=exchange.headers.get("user-agent", ""),
            request_id=exchange.request_id,
            languages=exchange.headers.get("accept-language", ""),
        )
        _current.set(exchange)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        return exchange

    def unreadable(self, error: AuthError, peer: str, *, to_head: bool) -> bytes:
        """A whole response to what could not be read as a request, for the server to write and then close.

        The servers' own pages quote what they could not read, in HTML, a bearer token included.
        """
        request_id = new_request_id()
        answer = problems.answer(error, request_id)
        access_log.info("unreadable request", status=int(answer.status), ip=peer, request_id=request_id)
        headers = (
            ("X-Request-ID", request_id),
            *((("Vary", "Origin"),) if self.origins else ()),
            *self.always,
            ("Content-Security-Policy", API_POLICY),
            ("Cache-Control", NO_STORE),
        )
        return _last_response(answer, headers, to_head=to_head)

    def unfinished(self, head: RequestHead, error: AuthError | None) -> bytes | None:
        """A whole response to a request whose body has not come, for the server to write and then close.

        None where the head alone is no reason to refuse it and there is no other: its body is worth waiting for.
        """
        exchange = self.open(head)
        answer = exchange.refusal() or (exchange.answer(error) if error is not None else None)
        if answer is None:
            return None
        exchange.log(answer.status)
        added = exchange.added_headers(answer.status, (name for name, _ in answer.headers))
        return _last_response(answer, added, to_head=exchange.is_head)


class Exchange:
    """One request and what becomes of it."""

    client: Client

    def __init__(self, edge: Edge, head: RequestHead) -> None:
        self._edge = edge
        self._head = head
        self.headers, self._too_large = _gather(head.fields)
        self._started = time.perf_counter()
        self._operations = edge.routes.at(head.path)
        self.is_head = head.method == HTTPMethod.HEAD
        # HEAD is GET without the body, so the framework is asked for GET where there is one (RFC 9110 9.3.2).
        self.method = HTTPMethod.GET.value if self.is_head and HTTPMethod.GET in self._operations else head.method
        self.operation = self._operations.get(self.method)
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else new_request_id()

    def refusal(self) -> Answer | None:
        """The answer where the edge itself has one, before the framework and before the body is read."""
        error = self._error()
        if error is not None:
            return self.answer(error)
        if self._operations and self._head.method == HTTPMethod.OPTIONS:
            return Answer(HTTPStatus.NO_CONTENT, (("Allow", ", ".join(self._allowed())), *self._preflight()))
        return None

    def answer(self, error: AuthError) -> Answer:
        """The answer to an error."""
        if isinstance(error, DatabaseUnavailable):
            _log_cause(error)
        return problems.answer(error, self.request_id)

    def crash(self, error: Exception) -> Answer:
        """Log an unknown error whole and answer it with nothing but its request id."""
        error_log.error("unhandled error", path=self._head.path, exc_info=error)
        return self.answer(InternalError())

    def added_headers(self, status: int, present: Iterable[str]) -> list[tuple[str, str]]:
        """The headers that every answer carries, but those that it already has."""
        operation = self.operation
        cached = operation.cache if operation and status == operation.status else NO_STORE
        added = [
            ("X-Request-ID", self.request_id),
            *self._edge.always,
            ("Content-Security-Policy", operation.policy if operation and status == operation.status else API_POLICY),
            ("Cache-Control", cached),
            *self._cross_origin(),
        ]
        # Vary is a list over all its fields (RFC 9110 section 12.5.5): both the language and the origin.
        names = {name.lower() for name in present} - {"vary"}
        return [(name, value) for name, value in added if name.lower() not in names]

    def log(self, status: int) -> None:
        """Write the access line: the route, never the query, never a header."""
        access_log.info(
            "request",
            method=self._head.method,
            path=next(iter(self._operations.values())).path if self._operations else "unknown",
            status=int(status),
            milliseconds=round((time.perf_counter() - self._started) * 1000, 2),
            ip=self.client.ip,
        )

    def _error(self) -> AuthError | None:
        # In the order in which a request is read from a connection, so that of two faults the same one is told.
        return self._error_of_line() or self._error_of_headers() or self._error_of_path() or self._error_of_length()

    def _error_of_line(self) -> AuthError | None:
        if self._head.target_length > MAX_TARGET:
            return TargetTooLong()
        return None if self._head.method in _METHODS else MalformedRequest()

    def _error_of_headers(self) -> AuthError | None:
        if self._too_large:
            return HeadersTooLarge()
        # Doubled fields arrive joined by a comma. No Host, bearer token or Basic credential contains one; which of
        # two a server obeys differs from server to server, and that is how a proxy is made to see another request.
        host = self.headers.get("host", "localhost" if self._head.version == "1.0" else "")
        if not _HOST.fullmatch(host):
            return MalformedRequest()
        if any("," in self.headers.get(name, "") for name in ("authorization", "content-type")):
            return MalformedRequest()
        if self.headers.get("expect", CONTINUE).lower() != CONTINUE:
            return MalformedRequest()
        # httptools gives no body of a request that asks for an upgrade; without one, the upgrade is not followed.
        if "upgrade" in self.headers and {"content-length", "transfer-encoding"} & self.headers.keys():
            return MalformedRequest()
        return None

    def _error_of_path(self) -> AuthError | None:
        # Werkzeug takes two slashes at the start for one, Starlette a line feed at the end for none.
        if self._head.path.startswith("//") or any(character < " " for character in self._head.path):
            return NotFound()
        if self._operations and self.method not in (*self._operations, HTTPMethod.OPTIONS):
            return MethodNotAllowed(self._allowed())
        return None

    def _error_of_length(self) -> AuthError | None:
        length = self.headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return MalformedRequest()
        length = length.lstrip("0") or "0"
        return BodyTooLarge() if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY else None

    def _allowed(self) -> list[str]:
        methods = {*self._operations, HTTPMethod.OPTIONS.value}
        if HTTPMethod.GET in methods:
            methods.add(HTTPMethod.HEAD.value)
        return sorted(methods)

    def _cross_origin(self) -> list[tuple[str, str]]:
        if not self._edge.origins:
            return []
        origin = self.headers.get("origin")
        if origin not in self._edge.origins:
            return [("Vary", "Origin")]
        return [
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "X-Request-ID, Retry-After, WWW-Authenticate"),
        ]

    def _preflight(self) -> list[tuple[str, str]]:
        asked = "access-control-request-method" in self.headers
        if not asked or self.headers.get("origin") not in self._edge.origins:
            return []
        return [
            ("Access-Control-Allow-Methods", ", ".join(self._allowed())),
            ("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-ID"),
            ("Access-Control-Max-Age", str(PREFLIGHT_SECONDS)),
        ]


_current: ContextVar[Exchange] = ContextVar("exchange")


def _log_cause(error: DatabaseUnavailable) -> None:
    """Say in the log what the caller is not told: whether it is the network, a lock or the disk."""
    raised = getattr(error.__cause__, "orig", None) or error.__cause__ or error
    error_log.warning("database unavailable", error=type(raised).__name__, sqlstate=getattr(raised, "sqlstate", None))


def current() -> Exchange:
    """The exchange that this code runs for."""
    return _current.get()


def _gather(fields: Iterable[tuple[str, str]]) -> tuple[dict[str, str], bool]:
    """Join repeated fields with a comma, as WSGI servers do, and say whether there is too much of them."""
    headers: dict[str, str] = {}
    count, too_large = 0, False
    for name, value in fields:
        count += 1
        lowered = name.lower()
        headers[lowered] = f"{headers[lowered]},{value}" if lowered in headers else value
        too_large = too_large or len(lowered) + len(headers[lowered]) > MAX_FIELD
    return headers, too_large or count > MAX_FIELDS


def _last_response(answer: Answer, added: Iterable[tuple[str, str]], *, to_head: bool) -> bytes:
    """A response in bytes, the last of its connection."""
    length = [("Content-Length", str(len(answer.body)))] if answer.body else []
    date = ("Date", formatdate(usegmt=True))  # of every answer but 1xx and 5xx (RFC 9110 section 6.6.1)
    headers = (date, *answer.headers, *length, ("Connection", "close"), *added)
    status = HTTPStatus(answer.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if to_head else answer.body)


def new_request_id() -> str:
    """A name for a request that brought none."""
    return secrets.token_hex(16)
