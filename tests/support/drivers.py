"""Ways to send one request: into a WSGI or an ASGI application as its server would, or over a real connection.

The test clients of the frameworks tidy requests up (doubled headers, odd paths, lengths); what is tested here is
what happens when nobody does.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, unquote_to_bytes, urlsplit

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Driver(Protocol):
    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer: ...


class WsgiDriver:
    """Calls a WSGI application as gunicorn does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        return self._send(self._environ(method, target, headers, body, chunked=chunked))

    def abandon(self, target: str, headers: Headers) -> bytes:
        """Ask, and go away with the first piece of the answer."""
        chunks = self._app(self._environ("GET", target, headers, b"", chunked=False), lambda *_: None)
        first: bytes = next(iter(chunks))
        chunks.close()
        return first

    def _environ(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool) -> dict[str, Any]:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in _framed(headers, body, chunked=chunked):
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            value = value.strip(" \t")  # noqa: PLW2901 - as gunicorn does (RFC 9110 section 5.5)
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ

    def _send(self, environ: dict[str, Any]) -> Answer:
        started: list[Any] = []

        def start_response(status: str, response_headers: Headers, _exc_info: Any = None) -> Any:
            started[:] = [int(status[:3]), response_headers]

        chunks = self._app(environ, start_response)
        try:
            received = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return Answer(started[0], started[1], received)


class AsgiDriver:
    """Calls an ASGI application as uvicorn does, on an event loop of its own."""

    def __init__(self, app: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        future = asyncio.run_coroutine_threadsafe(
            self._send(method, target, headers, body, chunked=chunked), self._loop
        )
        return future.result(30)

    def abandon(self, target: str, headers: Headers) -> bytes:
        """Ask, and go away with the first piece of the answer."""
        return asyncio.run_coroutine_threadsafe(self._abandon(target, headers), self._loop).result(30)

    async def _abandon(self, target: str, headers: Headers) -> bytes:
        pieces: list[bytes] = []
        has_one = asyncio.Event()
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await has_one.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                pieces.append(message["body"])
                has_one.set()

        await self._app(self._scope("GET", target, headers, b"", chunked=False), receive, send)
        return pieces[0]

    def _scope(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool) -> dict[str, Any]:
        path, _, query = target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in _framed(headers, body, chunked=chunked)
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }

    async def _send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool) -> Answer:
        scope = self._scope(method, target, headers, body, chunked=chunked)
        size = 1024 if chunked else max(len(body), 1)
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]
        sent: list[dict[str, Any]] = []

        answered_whole = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not messages:
                await answered_whole.wait()  # a client that goes away before that would end a streamed answer
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered_whole.set()

        await self._app(scope, receive, send)
        start, *rest = sent
        answered = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], answered, b"".join(message.get("body", b"") for message in rest))


class LiveDriver:
    """Talks to a server over a connection of its own."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        assert parts.hostname
        self._address = parts.hostname, parts.port

    def send(self, method: str, target: str, headers: Headers, body: bytes, *, chunked: bool = False) -> Answer:
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in _framed(headers, body, chunked=chunked):
                connection.putheader(name, value)
            connection.endheaders(_chunks(body) if chunked else body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _framed(headers: Headers, body: bytes, *, chunked: bool) -> Headers:
    names = {name.lower() for name, _ in headers}
    framed = list(headers) if "host" in names else [("Host", "127.0.0.1:8000"), *headers]
    framed = [(name, value) for name, value in framed if (name.lower(), value) != ("host", "")]
    if chunked:
        return [*framed, ("Transfer-Encoding", "chunked")]
    return [*framed, ("Content-Length", str(len(body)))] if body and "content-length" not in names else framed


def _chunks(body: bytes) -> bytes:
    parts = [body[start : start + 1024] for start in range(0, len(body), 1024)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
