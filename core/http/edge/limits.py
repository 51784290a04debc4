"""Which requests are let in: what each may be at most, and what is refused before a framework sees it."""

import re
from http import HTTPMethod

from core.errors import (
    AuthError,
    BodyTooLarge,
    HeadersTooLarge,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    TargetTooLong,
    UnsupportedCoding,
)
from core.http.edge.request_head import Fields, RequestHead
from core.http.edge.routing import METHODS, Methods, allowed_methods, served_method

MAX_BODY = 16 * 1024
MAX_FIELD = 8190  # gunicorn's own limit; uvicorn has none and passes 100 KB on
MAX_FIELDS = 100
MAX_SECONDS = 10  # for a body to arrive behind its head; the servers give the head as long
MAX_TARGET = 4000  # gunicorn takes a request line of 4094
CONTINUE = "100-continue"

_VERSIONS = ("1.0", "1.1")  # httptools lets HTTP/0.9 and HTTP/2.0 pass as well
# Labels as DNS has them: Werkzeug refuses others, Starlette does not look.
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def fault_of(head: RequestHead, headers: Fields, methods: Methods) -> AuthError | None:
    """The fault for which a request is refused by its head alone; ``methods`` are those of its path.

    In the order in which a request is read from a connection, so that of two faults the same one is told.
    """
    return (
        _fault_of_line(head)
        or _fault_of_size(head, headers)
        or _fault_of_fields(head, headers)
        or _fault_of_path(head, methods)
        or _fault_of_length(headers)
        or _fault_of_coding(head, headers, methods)
    )


def _fault_of_line(head: RequestHead) -> AuthError | None:
    if head.target_length > MAX_TARGET:
        return TargetTooLong()
    is_understood = head.method in METHODS and head.version in _VERSIONS and _is_target(head)
    return None if is_understood else MalformedRequest()


def _is_target(head: RequestHead) -> bool:
    """Whether it is a path, or the star of OPTIONS (RFC 9112 section 3.2); of a tunnel, `CONNECT host:443`, it is none.

    The path is empty where the door is mounted inside another application, and is asked for without a slash.
    """
    return head.path[:1] in ("", "/") or (head.path == "*" and head.method == HTTPMethod.OPTIONS)


def _fault_of_size(head: RequestHead, headers: Fields) -> AuthError | None:
    is_too_large = any(len(name) + len(value) > MAX_FIELD for name, value in headers.items())
    return HeadersTooLarge() if is_too_large or len(head.fields) > MAX_FIELDS else None


def _fault_of_fields(head: RequestHead, headers: Fields) -> AuthError | None:
    # Doubled fields arrive joined by a comma. No Host, bearer token or Basic credential contains one; which of
    # two a server obeys differs from server to server, and that is how a proxy is made to see another request.
    host = headers.get("host", "localhost" if head.version == "1.0" else "")
    if not _HOST.fullmatch(host):
        return MalformedRequest()
    if any("," in headers.get(name, "") for name in ("authorization", "content-type")):
        return MalformedRequest()
    if headers.get("expect", CONTINUE).lower() != CONTINUE:
        return MalformedRequest()
    return _fault_of_framing(head, headers)


def _fault_of_framing(head: RequestHead, headers: Fields) -> AuthError | None:
    # Two lengths, two codings and chunks of HTTP/1.0 are how requests are smuggled (RFC 9112 section 6.1). Both
    # parsers refuse most of them; httptools takes the last one, and both take `gzip, chunked` for plain chunks.
    if "transfer-encoding" not in headers:
        return None
    is_chunked = headers["transfer-encoding"].lower() == "chunked"
    is_plain = is_chunked and head.version != "1.0" and "content-length" not in headers
    return None if is_plain else MalformedRequest()


def _fault_of_path(head: RequestHead, methods: Methods) -> AuthError | None:
    # Werkzeug takes two slashes at the start for one, Starlette a line feed at the end for none.
    if head.path.startswith("//") or any(character < " " for character in head.path):
        return NotFound()
    if methods and served_method(head.method, methods) not in (*methods, HTTPMethod.OPTIONS):
        return MethodNotAllowed(allowed_methods(methods))
    return None


def _fault_of_length(headers: Fields) -> AuthError | None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return MalformedRequest()
    length = length.lstrip("0") or "0"
    return BodyTooLarge() if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY else None


def _fault_of_coding(head: RequestHead, headers: Fields, methods: Methods) -> AuthError | None:
    # Only where a body is read: what nobody reads may be packed as it likes.
    operation = methods.get(head.method)
    codings = {coding.strip(" \t").lower() for coding in headers.get("content-encoding", "").split(",")}
    takes_body = operation is not None and (operation.json or operation.form)
    return UnsupportedCoding() if takes_body and codings - {"", "identity"} else None
