"""A connection of the Flask door: what arrives on it is collected, and given to a thread when it is whole."""

import math
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from cli.arrivals import LINGER, RESET, Arrivals, Refused
from core.app import AuthApp
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.edge.edge import Edge
from core.http.edge.limits import MAX_SECONDS
from core.site.operations import HEALTHZ

_LIVENESS = tuple(f"{method} {HEALTHZ.path} ".encode() for method in ("GET", "HEAD"))


class ContractSocket(socket.socket):
    """Keeps what the client does not take at once, so that no thread waits until it does."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self._untaken: deque[memoryview] = deque()

    def sendall(self, data: bytes) -> None:  # type: ignore[override]  # as gunicorn calls it
        """Send what the client takes now, and keep the rest, uncopied."""
        self._untaken.append(memoryview(data))
        self.send_on()

    def send_on(self) -> bool:
        """Send more of what is kept; whether that was all."""
        while self._untaken:
            part = self._untaken.popleft()
            try:
                sent = self.send(part, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            if sent < len(part):
                self._untaken.appendleft(part[sent:])
                return False
        return True


class ContractConnection(TConn):  # type: ignore[misc]  # gunicorn ships no types
    """A connection, and what has arrived on it."""

    sock: ContractSocket
    client: tuple[Any, ...]
    data_ready: bool
    parser: Any
    deadline = math.inf  # for a request to be whole, its answer to be taken, or a connection that ends to be closed
    _request = b""

    def __init__(self, cfg: Any, sock: ContractSocket, client: tuple[Any, ...], server: Any, edge: Edge) -> None:
        super().__init__(cfg, sock, client, server)
        self.arrivals = Arrivals(edge, client[0])

    def receive(self) -> bool:
        """Read what there is; False where the client sends no more."""
        self.sock.setblocking(False)
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return True
        self.arrivals.take(data)
        return bool(data)

    def wait(self) -> None:
        """Let more of the request come, for its seconds."""
        if interim := self.arrivals.go_ahead():
            self.sock.send(interim)
        self.deadline = min(self.deadline, time.monotonic() + MAX_SECONDS)

    def hand_over(self, request: bytes) -> None:
        """Keep a request that has arrived for the thread that serves it."""
        self._request, self.data_ready, self.deadline = request, True, math.inf

    def feed(self) -> None:
        """Give the parser the request, in that thread."""
        self.init()
        self.parser.unreader.unread(self._request)
        # What has not arrived by now does not arrive: a thread waits for no client, whatever the parser still wants.
        self.parser.unreader.chunk = _nothing

    def refuse(self, refused: Refused) -> None:
        """Answer what became no request."""
        self.deadline = math.inf
        self.sock.sendall(refused.answer)

    def let_take(self) -> bool:
        """Let the client take more of its answer, for its seconds; whether it has taken all."""
        is_taken = self.sock.send_on()
        self.deadline = math.inf if is_taken else min(self.deadline, time.monotonic() + MAX_SECONDS)
        return is_taken

    def cut_off(self) -> None:
        """Throw away what was not taken."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def end(self) -> None:
        """Send no more, and give the client its seconds to do the same."""
        self.sock.shutdown(socket.SHUT_WR)
        self.sock.setblocking(False)
        self.deadline = time.monotonic() + LINGER

    def has_ended(self) -> bool:
        """Throw away what the client still sends; whether that was all."""
        try:
            return not self.sock.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _nothing(_size_hint: int | None = None) -> bytes:
    return b""


class ContractWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Gives a request to a thread when it has arrived, and answers what it cannot read as the contract does.

    gunicorn gives a thread to every connection, silent ones included, and lets it wait for the rest without an end: as
    many slow clients as threads, and nobody else is served. Here the worker's one loop waits for all of them.
    """

    alive: bool
    sockets: list[socket.socket]
    poller: selectors.BaseSelector
    tpool: ThreadPoolExecutor
    pending_conns: deque[ContractConnection]
    wsgi: Any
    auth: AuthApp | None = None  # until the application is loaded
    edge: Edge
    _keeper: ThreadPoolExecutor
    _part_at = math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Both in the order of their deadlines.
        self._taking: dict[ContractConnection, None] = {}
        self._ending: dict[ContractConnection, None] = {}

    def init_process(self) -> None:
        """Make the thread that is kept, then serve; this returns when the worker ends."""
        with ThreadPoolExecutor(1) as self._keeper:
            super().init_process()

    def load_wsgi(self) -> None:
        """Load the application. Where its code cannot be read and is watched, callers wait until it can."""
        super().load_wsgi()
        found = getattr(self.wsgi, "extensions", None)
        if found is None:  # a page of gunicorn's own, with a traceback
            self.sockets = []
            return
        self.auth, self.edge = found["twinauth"], found["twinauth_edge"]

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, unless another worker has, or the client has left."""
        with suppress(BlockingIOError, ConnectionAbortedError):
            accepted, client = listener.accept()
            self.nr_conns += 1
            sock = ContractSocket(accepted)
            self.enqueue_req(ContractConnection(self.cfg, sock, client, listener.getsockname(), self.edge))

    def enqueue_req(self, conn: ContractConnection) -> None:
        """Take what has come on a connection, and hand a request on or wait for more."""
        try:
            self._go_on(conn)
        except OSError:
            self._drop(conn)
        except Exception as error:  # noqa: BLE001 - of one connection, and the loop is everybody's
            self.handle_error(None, conn.sock, conn.client, error)
            self._drop(conn)

    def _go_on(self, conn: ContractConnection) -> None:
        has_ended = not conn.receive()
        match conn.arrivals.next():
            case Refused() as refused:
                self._refuse(conn, refused)
            case None if has_ended:
                self._give_up_on(conn, MalformedRequest())
            case None:
                self._wait_for_more(conn)
            case request:
                self._submit(conn, request)

    def _submit(self, conn: ContractConnection, request: bytes) -> None:
        conn.hand_over(request)
        self._pool_for(request).submit(self.handle, conn).add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _pool_for(self, request: bytes) -> ThreadPoolExecutor:
        """A thread is kept for the question whether the process lives: it must not queue behind those that wait."""
        return self._keeper if request.startswith(_LIVENESS) else self.tpool

    def _wait_for_more(self, conn: ContractConnection) -> None:
        conn.wait()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _give_up_on(self, conn: ContractConnection, error: AuthError) -> None:
        if conn.arrivals.has_begun:
            self._refuse(conn, conn.arrivals.refused(error))
        else:
            self._drop(conn)

    def _refuse(self, conn: ContractConnection, refused: Refused) -> None:
        with suppress(OSError):
            conn.refuse(refused)
        self._let_take(conn, partial(self._end, conn))

    def _let_take(self, conn: ContractConnection, then: Callable[[], None]) -> None:
        """Go on with a connection when the client has taken what was answered, and not before."""
        try:
            is_taken = conn.let_take()
        except OSError:
            self._drop(conn)
            return
        if is_taken:
            then()
            return
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._send_on, conn, then))
        self._taking[conn] = None

    def _send_on(self, conn: ContractConnection, then: Callable[[], None], _sock: socket.socket) -> None:
        try:
            is_taken = conn.let_take()
        except OSError:
            self._cut_off(conn)
            return
        if is_taken:
            del self._taking[conn]
            self.poller.unregister(conn.sock)
            then()

    def _cut_off(self, conn: ContractConnection) -> None:
        del self._taking[conn]
        self.poller.unregister(conn.sock)
        conn.cut_off()
        self._drop(conn)

    def _end(self, conn: ContractConnection) -> None:
        """End a connection when the client does, or soon. gunicorn waits for that in its loop, for everybody else."""
        try:
            conn.end()
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        except (OSError, ValueError):
            self._drop(conn)
            return
        self._ending[conn] = None

    def _discard(self, conn: ContractConnection, _sock: socket.socket) -> None:
        if conn.has_ended():
            self._forget(conn)

    def _forget(self, conn: ContractConnection) -> None:
        del self._ending[conn]
        self.poller.unregister(conn.sock)
        self._drop(conn)

    def _drop(self, conn: ContractConnection) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """End the connections whose time is over; when stopping, those that have sent nothing soon."""
        now = time.monotonic()
        for conn in list(takewhile(lambda conn: conn.deadline < now, self._taking)):
            self._cut_off(conn)
        for conn in list(takewhile(lambda conn: conn.deadline < now, self._ending)):
            self._forget(conn)
        for conn in [conn for conn in self.pending_conns if conn.deadline < now or self._is_idle(conn)]:
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self._give_up_on(conn, RequestTimeout())

    def part_in(self, seconds: float) -> None:
        """Let connections that are idle go on for so long, and no longer."""
        self._part_at = time.monotonic() + seconds

    def _is_idle(self, conn: ContractConnection) -> bool:
        return time.monotonic() > self._part_at and not conn.arrivals.has_begun

    def handle(self, conn: ContractConnection) -> Any:
        """Serve a request that has arrived, in a thread."""
        conn.feed()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: ContractConnection) -> Any:
        """Answer; from the moment the process is told to stop, each answer says that the connection ends."""
        if self.auth is not None and self.auth.stopping.is_set() and not conn.arrivals.has_begun:
            req.force_close()
        return super().handle_request(req, conn)

    def finish_request(self, conn: ContractConnection, done: Future[Any]) -> None:
        """Let the client take its answer. No thread does: as many clients that read nothing would hold them all."""
        self._let_take(conn, partial(self._finish, conn, done))

    def _finish(self, conn: ContractConnection, done: Future[Any]) -> None:
        """Serve what has come behind a request, wait for the next one, or end the connection."""
        if done.cancelled() or done.exception() is not None or not done.result():
            self._end(conn)
        elif conn.arrivals.has_begun:
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, done)

    def handle_error(self, _request: Any, client: Any, address: Any, error: Exception) -> None:
        """Answer what should not happen: the parser refuses what the reader took, or the edge itself has failed."""
        self.log.error("Error handling a request", exc_info=error)
        with suppress(OSError):
            util.write(client, self.edge.unreadable(InternalError(), address[0], to_head=False))


class ContractResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn ships no types
    """A response without a banner, which names what to attack and has no setting."""

    def default_headers(self) -> list[str]:
        """The lines that the server adds."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]
