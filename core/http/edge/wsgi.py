"""The edge as WSGI middleware."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

from core.contract.answer import Answer
from core.errors import BodyTooLarge, MalformedRequest, RequestRefused, RequestTimeout
from core.http.edge.client_address import UNIX_PEER
from core.http.edge.edge import Edge
from core.http.edge.limits import MAX_BODY
from core.http.edge.request_context import CONTEXT, RequestContext
from core.http.edge.request_head import RequestHead

_UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")


class WsgiEdge:
    """Wraps a WSGI application."""

    def __init__(self, app: WSGIApplication, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        environ = {**environ, "PATH_INFO": self._edge.below(environ.get("PATH_INFO", ""))}
        context = self._open(environ)
        starter = _Starter(context, start_response)
        if refusal := context.refusal():
            return starter.send_whole(refusal)
        try:
            body = _read(environ)
        except RequestRefused as error:
            return starter.send_whole(context.answer(error))
        try:
            chunks = self._app(_replayed(environ, context, body), starter)
        except Exception as error:  # noqa: BLE001 - the one place where unknown errors end
            return starter.send_whole(context.crash(error))
        return _Body(chunks, silent=context.is_head)

    def _open(self, environ: WSGIEnvironment) -> RequestContext:
        # WSGI hands bytes over as latin-1 (PEP 3333); the path is UTF-8 in truth.
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        query = environ.get("QUERY_STRING", "")
        return self._edge.open(
            RequestHead(
                method=environ["REQUEST_METHOD"],
                path=path,
                # The raw target is no part of WSGI, but gunicorn and others give it. A bare "?" at its end is no query,
                # and ASGI does not tell of it.
                target_length=len("?".join(filter(None, (environ.get("RAW_URI", path).partition("?")[0], query)))),
                version=environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
                fields=tuple(_fields(environ)),
                # gunicorn has an address of each TCP client, from `accept`, and an empty one at a Unix socket alone.
                peer=UNIX_PEER if environ.get("REMOTE_ADDR") == "" else environ.get("REMOTE_ADDR", ""),
                prefix=environ.get("SCRIPT_NAME", "").encode("latin-1").decode("utf-8", "replace"),
            )
        )


class _Starter:
    """Adds the headers of the edge to the start of a response."""

    def __init__(self, context: RequestContext, start_response: StartResponse) -> None:
        self._context = context
        self._start_response = start_response

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        code = HTTPStatus(int(status[:3]))
        added = self._context.added_headers(code, (name for name, _ in headers))
        self._context.log(code)
        return self._start_response(f"{code.value} {code.phrase}", [*headers, *added], exc_info)

    def send_whole(self, answer: Answer) -> Iterable[bytes]:
        status = HTTPStatus(answer.status)
        length = [("Content-Length", str(len(answer.body)))] if answer.body else []
        self(f"{status.value} {status.phrase}", [*answer.headers, *length])
        return _Body([answer.body], silent=self._context.is_head)


class _Body:
    """The body of an answer: not sent for HEAD, and the last that happens in its request."""

    def __init__(self, chunks: Iterable[bytes], *, silent: bool) -> None:
        self._chunks = chunks
        self._silent = silent

    def __iter__(self) -> Iterator[bytes]:
        return iter(()) if self._silent else iter(self._chunks)

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
        # The thread goes on to another connection; its next line must not carry this request's id.
        structlog.contextvars.clear_contextvars()


def _fields(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-"), value
        elif name in _UNPREFIXED and value:
            yield name.replace("_", "-"), value


def _read(environ: WSGIEnvironment) -> bytes:
    """Read the whole body; without a length only where the server marks the end of chunks itself.

    Raises:
        MalformedRequest: it ends before its announced length, or is framed in a way that the server cannot read.
        RequestTimeout: it does not arrive in time.
        BodyTooLarge: it grows beyond the limit. Werkzeug would cut a chunked body there and run the view on the rest.

    """
    length = environ.get("CONTENT_LENGTH")
    if not length and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    body = _taken_from(environ["wsgi.input"], int(length) if length else MAX_BODY + 1)
    if length and len(body) < int(length):
        raise MalformedRequest  # cut off; what is there may mean something else than the whole
    if len(body) > MAX_BODY:
        raise BodyTooLarge
    return body


def _taken_from(stream: Any, size: int) -> bytes:
    try:
        return bytes(stream.read(size))
    except TimeoutError:  # of a server whose sockets have one
        raise RequestTimeout from None
    except Exception:  # noqa: BLE001 - each server has its own errors for chunks that are none
        raise MalformedRequest from None


def _replayed(environ: WSGIEnvironment, context: RequestContext, body: bytes) -> WSGIEnvironment:
    replayed = {
        **environ,
        "REQUEST_METHOD": context.method,
        CONTEXT: context,
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body)),
    }
    # The body is no longer chunked, and no operation is a web socket, which Werkzeug would route another way.
    for name in ("HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE"):
        replayed.pop(name, None)
    return replayed
