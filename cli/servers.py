"""The two servers, with the settings that the measurements and the attacks of the trade ask for."""

import os
from typing import Any

import uvicorn
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http import wsgi

from cli.migrate import migrate_database
from cli.plain import plain_errors, settings
from core.app import build_key_ring
from core.errors import DatabaseUnavailable, NotReady
from core.logs import configure
from core.repositories.unit_of_work import open_store

GRACE = 30  # seconds for requests in flight when the server is told to stop
KEEP_ALIVE = 5
# Waiting for a database or for a hash holds a thread. Hashes hold at most cores plus places in the line, which is
# ten on two cores; the rest stays free for everybody else.
FLASK_THREADS = 32


def prepare(workers: int) -> None:
    """Make ready what development makes by itself, and find plain mistakes before a server starts."""
    found = settings()
    configure(found)
    if "hash_concurrency" not in found.passwords.model_fields_set:
        # A core is counted once: several workers share what one process would have for itself.
        os.environ["AUTH_PASSWORD_HASH_CONCURRENCY"] = str(max(1, found.passwords.hash_concurrency // workers))
    with plain_errors():
        store = open_store(found.database_url, found.database)
        try:
            try:
                store.check()
            except NotReady:
                if found.is_production:
                    raise
                migrate_database(found)
            ring = build_key_ring(found, store=store)
            ring.ensure()
            ring.signer()
        except DatabaseUnavailable:
            if not found.is_production:
                raise
            # In production the process starts all the same and says 503 until the database is back.
        finally:
            store.close()


def serve_fastapi(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve FastAPI on uvicorn."""
    uvicorn.run(
        "api_fastapi.asgi:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        reload=reload,
        loop="uvloop",
        # h11 takes Content-Length with chunks, folded headers and bare line feeds, the makings of smuggling.
        http="httptools",
        ws="none",
        # The edge reads X-Forwarded-For itself; uvicorn would believe anybody on this machine.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )


def serve_flask(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve Flask on gunicorn."""
    _drop_banner()
    _Gunicorn(
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": workers,
            "worker_class": "gthread",
            "threads": FLASK_THREADS,
            "keepalive": KEEP_ALIVE,
            "graceful_timeout": GRACE,
            "reload": reload,
            "logger_class": PropagatingLogger,
            "control_socket_disable": True,
        }
    ).run()


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured by values instead of a command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from api_flask.wsgi import application  # noqa: PLC0415 - in the worker, where reload finds changed code

        return application()


class PropagatingLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Leaves gunicorn's lines to the process's own logging."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        """Add no handler; the access line is written at the edge."""
        self.error_log.propagate = True
        self.error_log.handlers = []
        self.access_log.handlers = []

    def access(self, *_: Any) -> None:
        """Write nothing."""


def _drop_banner() -> None:
    """Send no ``Server`` header: it names what to attack, and gunicorn has no setting for it."""
    original = wsgi.Response.default_headers

    def default_headers(response: Any) -> list[str]:
        return [line for line in original(response) if not line.startswith("Server:")]

    wsgi.Response.default_headers = default_headers
