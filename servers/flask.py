"""The Flask door on gunicorn."""

import logging
import signal
import socket
from functools import partial
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from core.http.edge.limits import MAX_FIELD, MAX_FIELDS
from core.settings.whole import Settings
from servers.descriptors import connections_at_once
from servers.gunicorn_guard import GuardedWorker
from servers.stopping import GRACE, GracefulShutdown, on_signals


def serve(listener: socket.socket, settings: Settings, workers: int) -> None:
    """Serve until a signal ends it."""
    quiet = logging.WARNING if settings.logging.format == "console" else logging.INFO  # DEBUG would quote requests
    _Gunicorn(
        {
            "bind": f"fd://{listener.detach()}",
            "workers": workers,
            "worker_class": f"{GuardedWorker.__module__}.{GuardedWorker.__name__}",
            "threads": settings.threads,
            "worker_connections": connections_at_once(),  # 1,000 by default, however little the others ask for
            "keepalive": round(settings.http.http_keep_alive.total_seconds()),
            "graceful_timeout": GRACE + round(settings.http.drain.total_seconds()),
            "control_socket_disable": True,
            # Its lines go where all others go; what it has of its own for a start is left out.
            "errorlog": None,
            "logconfig_dict": {
                "incremental": True,
                "root": {},
                "handlers": {},
                "loggers": {"gunicorn.error": {"level": max(quiet, logging.getLogger().level), "propagate": True}},
            },
            # The edge reads X-Forwarded-For itself; from a peer on this machine gunicorn would take the scheme and
            # even the path's prefix from any client's headers.
            "forwarded_allow_ips": "",
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "when_ready": _hear_signals,
            "post_worker_init": lambda worker: GracefulShutdown(worker.auth).install(),
            "worker_exit": _close,
            "limit_request_fields": 2 * MAX_FIELDS,  # the edge draws both lines, for both doors alike
            "limit_request_field_size": 2 * MAX_FIELD,
        }
    ).run()


def _hear_signals(_arbiter: Arbiter) -> None:
    """Stop gracefully at a first signal of either kind, and in two seconds at a second: gunicorn's own ignores it."""
    stop: Any = signal.getsignal(signal.SIGTERM)
    on_signals(partial(stop, signal.SIGTERM, None), partial(stop, signal.SIGQUIT, None))


def _close(_arbiter: Arbiter, worker: GuardedWorker) -> None:
    """End what the worker did besides requests, while a second signal is still heard: Python's own end is too late."""
    if worker.booted:
        worker.auth.close()


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured by values instead of a command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from api_flask.wsgi import application  # noqa: PLC0415 - in the worker

        return application()
