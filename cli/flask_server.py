"""Flask on gunicorn, with the settings that the measurements and the attacks of the trade ask for."""

import logging
import math
import select
import selectors
import signal
import socket
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import takewhile
from types import FrameType
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from cli.arrivals import LINGER, Arrivals, Refused
from cli.plain import settings
from cli.preparation import edge
from cli.stopping import FAREWELL, SETTLE, Departure, leave_in_peace, let_go
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.admission import MAX_FIELD, MAX_FIELDS, MAX_SECONDS

GRACE = 30  # seconds for requests in flight when the server is told to stop
KEEP_ALIVE = 5
_IO_TIMEOUT = struct.pack("ll", MAX_SECONDS, 0)  # for whatever a thread still waits for: the client to take the answer


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    wsgi.Response = ContractResponse
    _Gunicorn(
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": workers,
            "worker_class": f"{__name__}.{ContractWorker.__name__}",
            "threads": settings().threads,
            "keepalive": KEEP_ALIVE,
            "graceful_timeout": GRACE + round(settings().http.drain.total_seconds()),
            "reload": reload,
            "logger_class": PropagatingLogger,
            "control_socket_disable": True,
            # The edge reads X-Forwarded-For itself; from a peer on this machine gunicorn would take the scheme and
            # even the path's prefix from any client's headers.
            "forwarded_allow_ips": "",
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "worker_exit": _close,
            "limit_request_fields": 2 * MAX_FIELDS,  # the reader draws both lines, for both doors alike
            "limit_request_field_size": 2 * MAX_FIELD,
        }
    ).run()


def _close(_arbiter: Any, worker: Any) -> None:
    """End what the worker did besides requests; FastAPI's lifespan does the same."""
    if worker.wsgi is not None:
        worker.wsgi.extensions["twinauth"].close()


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured by values instead of a command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until a signal ends it."""
        ForwardingArbiter(self).run()

    def load(self) -> Any:
        from api_flask.wsgi import application  # noqa: PLC0415 - in the worker, where reload finds changed code

        return application()


class ForwardingArbiter(Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """Lets go of the listener with its workers, and passes a second signal on, which gunicorn's own does not hear."""

    _is_told = False

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's own
        """Tell the workers to stop, and wait for them."""
        drain = settings().http.drain.total_seconds() if graceful else 0
        let_go([listener.sock.dup() for listener in self.LISTENERS], drain)
        super().stop(graceful)
        leave_in_peace()

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal, as gunicorn does; the second time, tell the workers at once."""
        if sig == signal.SIGTERM:
            if self._is_told:
                self.kill_workers(sig)
            self._is_told = True
        super().signal(sig, frame)


class ContractWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Gives a request to a thread when it has arrived, and answers what it cannot read as the contract does.

    gunicorn gives a thread to every connection, silent ones included, and lets it wait for the rest without an end: as
    many slow clients as threads, and nobody else is served. Here the worker's one loop waits for all of them.
    """

    alive: bool
    tpool: ThreadPoolExecutor
    wsgi: Any = None  # until it is loaded, and a signal may come before
    _part_at = math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ending: dict[Any, None] = {}  # in the order of their deadlines
        self._departure = Departure()

    def init_process(self) -> None:
        """Make the thread that is kept, then serve; this returns when the worker ends."""
        with ThreadPoolExecutor(1) as self._keeper:
            super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        """Take what has come on a connection, and hand a request on or wait for more."""
        try:
            self._go_on(conn)
        except OSError:
            self._drop(conn)
        except Exception as error:  # noqa: BLE001 - of one connection, and the loop is everybody's
            self.handle_error(None, conn.sock, conn.client, error)
            self._drop(conn)

    def _go_on(self, conn: Any) -> None:
        if not hasattr(conn, "arrivals"):
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _IO_TIMEOUT)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _IO_TIMEOUT)
            conn.arrivals, conn.deadline = Arrivals(edge("flask"), conn.client[0]), None
        has_ended = not self._receive(conn)
        match conn.arrivals.next():
            case Refused() as refused:
                self._refuse(conn, refused)
            case None if has_ended:
                self._give_up_on(conn, MalformedRequest())
            case None:
                self._wait_for_more(conn)
            case request:
                self._submit(conn, request)

    def _submit(self, conn: Any, request: bytes) -> None:
        conn.data_ready, conn.deadline, conn.request = True, None, request
        self._pool_for(request).submit(self.handle, conn).add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def _pool_for(self, request: bytes) -> ThreadPoolExecutor:
        """A thread is kept for the question whether the process lives: it must not queue behind those that wait."""
        return self._keeper if request.startswith((b"GET /healthz ", b"HEAD /healthz ")) else self.tpool

    def _receive(self, conn: Any) -> bool:
        """Read what there is; False where the client sends no more."""
        conn.sock.setblocking(False)
        try:
            data = conn.sock.recv(65536)
        except BlockingIOError:
            return True
        conn.arrivals.take(data)
        return bool(data)

    def _wait_for_more(self, conn: Any) -> None:
        if interim := conn.arrivals.go_ahead():
            conn.sock.send(interim)
        conn.deadline = conn.deadline or time.monotonic() + MAX_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _give_up_on(self, conn: Any, error: AuthError) -> None:
        if conn.arrivals.has_begun:
            self._refuse(conn, conn.arrivals.refused(error))
        else:
            self._drop(conn)

    def _refuse(self, conn: Any, refused: Refused) -> None:
        with suppress(OSError):
            conn.sock.send(refused.answer)
        self._end(conn)

    def _end(self, conn: Any) -> None:
        """End a connection when the client does, or soon. gunicorn waits for that in its loop, for everybody else."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        except (OSError, ValueError):
            self._drop(conn)
            return
        conn.deadline = time.monotonic() + LINGER
        self._ending[conn] = None

    def _discard(self, conn: Any, _sock: socket.socket) -> None:
        try:
            is_over = not conn.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._forget(conn)

    def _forget(self, conn: Any) -> None:
        del self._ending[conn]
        self.poller.unregister(conn.sock)
        self._drop(conn)

    def _drop(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """End the connections whose time is over; when stopping, those that have sent nothing soon."""
        now = time.monotonic()
        for conn in list(takewhile(lambda conn: conn.deadline < now, self._ending)):
            self._forget(conn)
        for conn in [conn for conn in self.pending_conns if conn.deadline < now or self._is_idle(conn)]:
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self._give_up_on(conn, RequestTimeout())

    def _is_idle(self, conn: Any) -> bool:
        return time.monotonic() > self._part_at and not conn.arrivals.has_begun

    def handle(self, conn: Any) -> Any:
        """Serve a request that has arrived, in a thread."""
        conn.init()
        conn.parser.unreader.unread(conn.request)
        # What has not arrived by now does not arrive: a thread waits for no client, whatever the parser still wants.
        conn.parser.unreader.chunk = _nothing
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer; from the moment the process is told to stop, each answer says that the connection ends."""
        if self.wsgi.extensions["twinauth"].stopping.is_set() and not conn.arrivals.has_begun:
            req.force_close()
        return super().handle_request(req, conn)

    def finish_request(self, conn: Any, done: Future[Any]) -> None:
        """Serve what has come behind a request, wait for the next one, or end the connection."""
        if done.cancelled() or done.exception() is not None or not done.result():
            self._end(conn)
        elif conn.arrivals.has_begun:
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, done)

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - gunicorn's own
        """Take who came before the listener closes, and then close it at once.

        gunicorn keeps it until the worker ends: who comes meanwhile waits, and is reset.
        """
        is_over = not enabled and not self.alive
        if is_over:
            self._part_at = time.monotonic() + FAREWELL
        for listener in self.sockets if is_over else ():
            self._accept_all(listener)
        super().set_accept_enabled(enabled)
        for listener in self.sockets if is_over else ():
            listener.close()

    def _accept_all(self, listener: socket.socket) -> None:
        line = select.poll()
        line.register(listener, select.POLLIN)
        for _ in range(self.cfg.backlog):
            if not line.poll(SETTLE * 1000):
                break
            self.accept(listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait."""
        if self.wsgi is not None:
            self.wsgi.extensions["twinauth"].stopping.set()
        self._departure.hear(settings().http.drain.total_seconds() if self.wsgi is not None else 0)
        if self._departure.is_due():
            super().handle_exit(sig, frame)

    def notify(self) -> None:
        """Say that the worker lives, as it does every second; and stop when the time has come."""
        super().notify()
        if self._departure.is_due():
            self.alive = False

    def handle_error(self, _request: Any, client: Any, address: Any, error: Exception) -> None:
        """Answer what should not happen: the parser refuses what the reader took, or the edge itself has failed."""
        self.log.error("Error handling a request", exc_info=error)
        with suppress(OSError):
            util.write(client, edge("flask").unreadable(InternalError(), address[0], to_head=False))


def _nothing(_size_hint: int | None = None) -> bytes:
    return b""


class ContractResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn ships no types
    """A response without a banner, which names what to attack and has no setting."""

    def default_headers(self) -> list[str]:
        """The lines that the server adds."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]


class PropagatingLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Leaves gunicorn's lines to the process's own logging, but for those that quote requests."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        """Add no handler; the access line is written at the edge."""
        self.error_log.propagate = True
        self.error_log.handlers = []
        self.error_log.setLevel(max(logging.INFO, logging.getLogger().level))  # DEBUG names every raw path
        self.access_log.handlers = []

    def access(self, *_: Any) -> None:
        """Write nothing."""
