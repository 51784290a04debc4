"""What gunicorn's threads need, so that its own ways break no promise.

gunicorn 27 reads HTTP as strictly as RFC 9112 has it. But it waits for slow clients without an end, sends `100
Continue` before anybody has looked at the head, refuses in HTML that quotes the request, names itself in each answer,
and waits for clients to close in the loop that serves everybody.
"""

import re
import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from gunicorn import util
from gunicorn.http import errors, wsgi
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

from core.app import AuthApp
from core.errors import AuthError, HeadersTooLarge, InternalError, MalformedRequest, RequestTimeout, TargetTooLong
from core.http.edge.limits import MAX_SECONDS
from servers.stopping import LINGER

# The whole of a request: one that announces a body would be waited for.
_LIVENESS = re.compile(rb"(?is)(GET|HEAD) /healthz HTTP/1\.[01]\r\n(?!.*(content-length|transfer-encoding)).*\r\n\r\n")
_REFUSALS: dict[type[Exception], type[AuthError]] = {
    errors.LimitRequestLine: TargetTooLong,
    errors.LimitRequestHeaders: HeadersTooLarge,
    errors.ParseException: MalformedRequest,
    RequestTimeout: RequestTimeout,
}
_UNREAD = 16 * 1024 * 1024  # bytes that are thrown away behind an answer


class ClientReader:
    """What one client sends: in so many seconds a request, and told to go on where more of it is asked for."""

    waits_to_be_told = False

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def begin(self) -> None:
        """Give the client its seconds for a request."""
        self._deadline = time.monotonic() + MAX_SECONDS
        self.waits_to_be_told = False

    def recv(self, size: int) -> bytes:
        """Read what comes; TimeoutError where the client had its seconds."""
        if self.waits_to_be_told:
            self.waits_to_be_told = False
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        try:
            return self._sock.recv(size)
        finally:
            self._sock.settimeout(MAX_SECONDS)  # of what is sent next


class GuardedRequest(Request):  # type: ignore[misc]  # gunicorn ships no types
    """A request whose head comes in time, and whose trailers say nothing."""

    _policy_expect_continue = False  # the edge judges the expectation, and the reader fulfils it

    def parse(self, unreader: Any) -> bytes:
        """Read the head."""
        try:
            unused: bytes = super().parse(unreader)
        except TimeoutError:
            raise RequestTimeout from None
        if self.version > (1, 1):
            raise errors.InvalidHTTPVersion(self.version)
        unreader.sock.waits_to_be_told = self.version == (1, 1) and "EXPECT" in dict(self.headers)
        return unused

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> Any:  # noqa: FBT001, FBT002 - gunicorn's own
        """Read the fields of the head, and none behind the body: it comes past a proxy that has looked at the head."""
        return [] if from_trailer else super().parse_headers(data)

    def is_unread(self) -> bool:
        """Whether the application has not asked for all of the body."""
        return bool(getattr(self.body.reader, "length", None) or getattr(self.body.reader, "parser", None))

    def should_close(self) -> bool:
        """Whether the connection ends; also with a body that is unread, for its end is not known."""
        return self.is_unread() or bool(super().should_close())


class BannerlessResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn ships no types
    """A response that does not name what to attack; there is no setting for it."""

    def default_headers(self) -> list[str]:
        """The lines that the server adds."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]


def _end(client: socket.socket) -> None:
    """Close behind the last answer, but not on what the client still sends: a reset would take the answer back."""
    util.close_graceful(client, timeout=LINGER, max_drain=_UNREAD)


class GuardedWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Lends a thread to a connection on which something has come, for a bounded time."""

    @property
    def auth(self) -> AuthApp:
        """The service behind the application."""
        auth: AuthApp = self.wsgi.extensions["twinauth"]
        return auth

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """The threads; and one for the question whether the process lives, which must not queue behind them."""
        wsgi.Response = BannerlessResponse
        self._liveness = ThreadPoolExecutor(1)
        return ThreadPoolExecutor(self.cfg.threads)

    def enqueue_req(self, conn: TConn) -> None:
        """Hand a connection to a thread. gunicorn's own lets a thread wait for the first byte."""
        come = b""  # what is wrong with a socket is for the thread to find out
        try:
            conn.sock.setblocking(False)
            come = conn.sock.recv(4096, socket.MSG_PEEK)
        except OSError as error:
            if isinstance(error, BlockingIOError) and not conn.initialized:
                conn.timeout = time.monotonic() + MAX_SECONDS
                self.pending_conns.append(conn)
                self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
                return
        conn.data_ready = True
        pool = self._liveness if _LIVENESS.fullmatch(come) else self.tpool
        pool.submit(self.handle, conn).add_done_callback(partial(self.method_queue.defer, self.finish_request, conn))

    def handle(self, conn: TConn) -> Any:
        """Serve a request, in a thread."""
        if conn.parser is None:
            conn.parser = RequestParser(self.cfg, ClientReader(conn.sock), conn.client)
            conn.parser.mesg_class = GuardedRequest
        conn.parser.unreader.sock.begin()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer; from the moment the process is told to stop, each answer says that the connection ends."""
        conn.sock.settimeout(MAX_SECONDS)
        if self.auth.stopping.is_set():
            req.force_close()
        try:
            goes_on = super().handle_request(req, conn)
        except TimeoutError:  # the client takes nothing of its answer
            return False
        if req.is_unread():
            _end(conn.sock)
        return goes_on

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        """Wait for the next request, or close. gunicorn waits here, in the one loop, for the client to do so."""
        if done.cancelled() or done.exception() is not None or not done.result():
            self.nr_conns -= 1
            conn.close()
        else:
            super().finish_request(conn, done)

    def handle_error(self, _request: Any, client: socket.socket, address: Any, error: Exception) -> None:
        """Answer as the edge does what could not be read, and what should not happen."""
        refusal = next((answer for kind, answer in _REFUSALS.items() if isinstance(error, kind)), InternalError)
        if refusal is InternalError:
            structlog.get_logger("error").error("unhandled error", exc_info=error)
        with suppress(OSError):
            client.settimeout(MAX_SECONDS)
            client.sendall(self.wsgi.extensions["twinauth_edge"].unreadable(refusal(), address[0] if address else ""))
        _end(client)

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - gunicorn's own
        """Accept connections or not; at the end those that have come, and then close the listeners.

        gunicorn keeps them until the worker has ended: a client that comes meanwhile waits for nobody, and is reset.
        """
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            self._accept_all(listener)
            listener.close()
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, time.monotonic() + LINGER)

    def _accept_all(self, listener: socket.socket) -> None:
        for _ in range(self.cfg.backlog):
            accepted = self.nr_conns
            self.accept(listener)
            if self.nr_conns == accepted:
                break
