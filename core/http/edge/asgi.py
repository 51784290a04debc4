"""The edge as ASGI middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from core.contract.answer import Answer
from core.errors import BodyTooLarge, RequestRefused, RequestTimeout
from core.http.edge.client_address import UNIX_PEER
from core.http.edge.edge import Edge
from core.http.edge.limits import MAX_BODY, MAX_SECONDS
from core.http.edge.request_context import CONTEXT, RequestContext
from core.http.edge.request_head import RequestHead

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class AsgiEdge:
    """Wraps an ASGI application."""

    def __init__(self, app: AsgiApp, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; lifespan messages pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix = scope.get("root_path", "")
        path = self._edge.below(_below(prefix, scope["path"]))
        scope = {**scope, "headers": list(_plain(scope["headers"])), "path": prefix + path}
        context = self._open(scope, path)
        sender = _Sender(context, send)
        if refusal := context.refusal():
            await sender.send_whole(refusal, is_last=refusal.status == HTTPStatus.BAD_REQUEST)
            return
        try:
            body = await _read(receive)
        except RequestRefused as error:
            await sender.send_whole(context.answer(error), is_last=isinstance(error, RequestTimeout))
            return
        if body is None:
            return  # the client went away in the middle of its own request
        try:
            await self._app({**scope, "method": context.method, CONTEXT: context}, _replay(body, receive), sender)
        except Exception as error:
            if sender.has_started:
                raise
            await sender.send_whole(context.crash(error))

    def _open(self, scope: Scope, path: str) -> RequestContext:
        target = scope.get("raw_path") or scope["path"].encode()
        return self._edge.open(
            RequestHead(
                method=scope["method"],
                path=path,
                target_length=len(b"?".join(filter(None, (target, scope["query_string"])))),
                version=scope["http_version"],
                fields=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
                peer=_peer(scope),
                prefix=scope.get("root_path", ""),
            )
        )


class _Sender:
    """Adds the headers of the edge to the start of a response and drops the body of an answer to HEAD."""

    def __init__(self, context: RequestContext, send: Send) -> None:
        self._context = context
        self._send = send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            present = [name.decode("latin-1") for name, _ in message["headers"]]
            added = self._context.added_headers(message["status"], present)
            message = {**message, "headers": [*message["headers"], *_encoded(added)]}
            self._context.log(message["status"])
        elif message["type"] == "http.response.body" and self._context.is_head:
            message = {**message, "body": b""}
        await self._send(message)

    async def send_whole(self, answer: Answer, *, is_last: bool = False) -> None:
        """Answer; as the last on its connection where what follows cannot be told from the rest of the request."""
        headers = _encoded(answer.headers)
        if is_last:
            headers.append((b"connection", b"close"))
        if answer.body:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await self({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        await self({"type": "http.response.body", "body": answer.body})


def _peer(scope: Scope) -> str:
    """The address of the peer. Where it has none, the kind of the socket says whether it could have one."""
    if client := scope.get("client"):
        return str(client[0])
    server = scope.get("server")
    return UNIX_PEER if server and server[1] is None else ""


def _below(root_path: str, path: str) -> str:
    """Return the path inside the application, as WSGI has it: ASGI leaves the path of the mount in it."""
    is_below = path == root_path or path.startswith(f"{root_path}/")
    return path.removeprefix(root_path) if is_below else path


def _encoded(headers: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _plain(fields: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The fields as WSGI servers give them.

    Blanks around a value are no part of it (RFC 9110 section 5.5). WSGI cannot tell `X_Forwarded_For` from
    `X-Forwarded-For`, so that gunicorn leaves names with an underscore out; what a proxy in front does not know as the
    field that it rewrites must not become it at one of the doors.
    """
    return ((name, value.strip(b" \t")) for name, value in fields if b"_" not in name)


async def _read(receive: Receive) -> bytes | None:
    """Read the whole body, or None where the client went away.

    Raises:
        RequestTimeout: it does not arrive in time.
        BodyTooLarge: it grows beyond the limit; chunked bodies announce no length.

    """
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _read_patiently(receive)
    except TimeoutError:
        raise RequestTimeout from None


async def _read_patiently(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
