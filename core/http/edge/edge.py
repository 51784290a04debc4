"""The edge: what holds for every request before and after a framework sees it, decided once for both doors.

It opens the context of each request, and answers by itself what becomes none. `AsgiEdge` and `WsgiEdge` carry it to
the two protocols.
"""

import re
import secrets
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from core.contract.answer import Answer
from core.contract.contract import Contract
from core.contract.operation import API_POLICY, NO_STORE
from core.errors import AuthError, MalformedRequest, MethodNotAllowed, NotFound
from core.http.edge.client_address import client_address
from core.http.edge.cors import Cors
from core.http.edge.request_context import RequestContext, access_log
from core.http.edge.request_head import Fields, RequestHead, joined
from core.http.edge.routing import METHODS, Routes, allowed_methods
from core.http.problems import Problems
from core.origin import Origin
from core.settings.whole import Settings

HSTS = "max-age=31536000; includeSubDomains"

_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Edge:
    """The settings of the edge; one a process, shared by all requests."""

    def __init__(self, settings: Settings, contract: Contract, *, door: str) -> None:
        self._problems = Problems(contract.problems)
        self._routes = Routes(contract.operations.values())
        self._cross_origin = Cors(settings.http.cors_origins)
        self._trusted = settings.http.trusted_proxies
        self._root_path = settings.http.root_path
        self._issuer_path = urlsplit(settings.http.public_url).path
        self._always = (
            *_ALWAYS,
            *((("Strict-Transport-Security", HSTS),) if settings.http.public_url.startswith("https:") else ()),
            *((("X-Served-By", door),) if settings.http.served_by else ()),
        )

    def below(self, path: str) -> str:
        """Return a path without the one under which a proxy shows the service; the proxy may have taken it away.

        Documents that are well known stand at the root of the host as well, with the path of the issuer behind them
        (RFC 8414 section 3.1).
        """
        if path.startswith("/.well-known/") and self._issuer_path and path.endswith(self._issuer_path):
            path = path.removesuffix(self._issuer_path)
        is_below = path.startswith(f"{self._root_path}/") and not self._routes.at(path)
        return path.removeprefix(self._root_path) if is_below else path

    def open(self, head: RequestHead) -> RequestContext:
        """Begin a request: name it, find its origin and its operation."""
        headers = joined(head.fields)
        context = RequestContext(
            head,
            headers,
            origin=self._origin(head.peer, headers),
            methods=self._routes.at(head.path),
            problems=self._problems,
            always=self._always,
            cross_origin=self._cross_origin,
            prefix=quote(self._root_path or head.prefix),
        )
        context.begin()
        return context

    def unreadable(self, error: AuthError, peer: str) -> bytes:
        """A whole response to what could not be read as a request, for the server to write and then close.

        The servers' own pages quote what they could not read, in HTML, a bearer token included.
        """
        request_id = _new_request_id()
        answer = self._problems.answer(error, request_id, self._root_path)
        access_log.info("unreadable request", status=int(answer.status), ip=peer, request_id=request_id)
        return _last_response(
            answer,
            ("X-Request-ID", request_id),
            *self._cross_origin.vary,
            *self._always,
            ("Content-Security-Policy", API_POLICY),
            ("Cache-Control", NO_STORE),
        )

    def fault_of_method(self, data: bytes) -> AuthError:
        """The fault of a request, by its first bytes, whose method the server's parser does not know.

        uvicorn's has a list of its own, without a third of the registry.
        """
        method, target, *_ = [*data.decode("latin-1").split(" ", 2), ""]
        if method not in METHODS:
            return MalformedRequest()
        methods = self._routes.at(self.below(target.partition("?")[0]))
        return MethodNotAllowed(allowed_methods(methods)) if methods else NotFound()

    def _origin(self, peer: str, headers: Fields) -> Origin:
        given = headers.get("x-request-id", "")
        return Origin(
            ip=client_address(peer, headers.get("x-forwarded-for"), self._trusted),
            user_agent=headers.get("user-agent", ""),
            request_id=given if _REQUEST_ID.fullmatch(given) else _new_request_id(),
            languages=headers.get("accept-language", ""),
        )


def _last_response(answer: Answer, *added: tuple[str, str]) -> bytes:
    """A response in bytes, the last of its connection."""
    status = HTTPStatus(answer.status)
    date = ("Date", formatdate(usegmt=True))  # of every answer but 1xx and 5xx (RFC 9110 section 6.6.1)
    headers = (date, *answer.headers, ("Content-Length", str(len(answer.body))), ("Connection", "close"), *added)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + answer.body


def _new_request_id() -> str:
    """A name for a request that brought none."""
    return secrets.token_hex(16)
