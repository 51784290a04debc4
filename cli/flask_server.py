"""Flask on gunicorn, with the settings that the measurements and the attacks of the trade ask for."""

import logging
import select
import signal
import socket
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http import wsgi

from cli.arrivals import KEEP_ALIVE
from cli.flask_connection import ContractResponse, ContractWorker
from cli.plain import settings
from cli.stopping import FAREWELL, GRACE, SETTLE, Departure, leave_in_peace, let_go
from core.http.edge.limits import MAX_FIELD, MAX_FIELDS


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    wsgi.Response = ContractResponse
    found = settings()
    drain = found.http.drain.total_seconds()
    _Gunicorn(
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": workers,
            "worker_class": f"{__name__}.{DrainingWorker.__name__}",
            "threads": found.threads,
            "keepalive": KEEP_ALIVE,
            "graceful_timeout": GRACE + round(drain),
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
        },
        drain,
    ).run()


def _close(_arbiter: Any, worker: ContractWorker) -> None:
    """End what the worker did besides requests, while a second signal is still heard: Python's own end is too late."""
    if worker.auth is not None:
        worker.auth.close()


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured by values instead of a command line."""

    def __init__(self, options: dict[str, Any], drain: float) -> None:
        self._options = options
        self._drain = drain
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve until a signal ends it."""
        ForwardingArbiter(self, drain=self._drain).run()

    def load(self) -> Any:
        from api_flask.wsgi import application  # noqa: PLC0415 - in the worker, where reload finds changed code

        return application()


class DrainingWorker(ContractWorker):
    """Says that it is not ready when it is told to stop, and stops when the load balancer can have noticed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._departure = Departure()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait."""
        self._departure.hear(self.auth)
        if self._departure.is_due():
            super().handle_exit(sig, frame)

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - gunicorn's own
        """Take who came before the listener closes, and then close it at once.

        gunicorn keeps it until the worker ends: who comes meanwhile waits, and is reset.
        """
        if enabled or self.alive:
            super().set_accept_enabled(enabled)
            return
        if self.auth is not None:
            self._departure.turn(self.auth)
        self.part_in(FAREWELL)
        for listener in self.sockets:
            self._accept_all(listener)
        super().set_accept_enabled(enabled)
        for listener in self.sockets:
            listener.close()

    def _accept_all(self, listener: socket.socket) -> None:
        line = select.poll()
        line.register(listener, select.POLLIN)
        for _ in range(self.cfg.backlog):
            if not line.poll(SETTLE * 1000):
                break
            self.accept(listener)

    def notify(self) -> None:
        """Say that the worker lives, as it does every second; and stop when the time has come."""
        super().notify()
        if self._departure.is_due():
            self.alive = False


class ForwardingArbiter(Arbiter):  # type: ignore[misc]  # gunicorn ships no types
    """Lets go of the listener with its workers, and passes a second signal on, which gunicorn's own does not hear."""

    _is_told = False

    def __init__(self, app: BaseApplication, *, drain: float) -> None:
        super().__init__(app)
        self._drain = drain

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's own
        """Tell the workers to stop, and wait for them."""
        let_go([listener.sock.dup() for listener in self.LISTENERS], self._drain if graceful else 0)
        super().stop(graceful)
        leave_in_peace()

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal, as gunicorn does; the second time, tell the workers at once."""
        if sig == signal.SIGTERM:
            if self._is_told:
                self.kill_workers(sig)
            self._is_told = True
        super().signal(sig, frame)


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
