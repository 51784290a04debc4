"""The FastAPI door on uvicorn."""

import logging
import multiprocessing
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from core.settings.whole import Settings
from servers.stopping import GRACE, GracefulShutdown, end_with, ignore_operators, ignore_signals, on_signals
from servers.uvicorn_guard import GuardedProtocol

STARTUP_FAILURE = 3  # the exit code of both servers where the application cannot be built


def serve(listener: socket.socket, settings: Settings, workers: int) -> None:
    """Serve until a signal ends it."""
    keep_alive = round(settings.http.http_keep_alive.total_seconds())
    config = uvicorn.Config(
        f"{__name__}:application",
        factory=True,
        workers=workers,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        proxy_headers=False,  # the edge reads X-Forwarded-For itself; uvicorn would believe anybody on this machine
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=keep_alive,
        headers=[] if keep_alive else [("Connection", "close")],
        timeout_graceful_shutdown=GRACE,
    )
    if settings.logging.format == "console":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _serve_alone(config, listener) if workers == 1 else _serve_with_workers(config, listener)
    ignore_signals()


def application() -> FastAPI:
    """Build the door in the process that serves it, where uvicorn hears signals by now."""
    from api_fastapi.asgi import application as build  # noqa: PLC0415 - not in the parent of workers

    if parent := multiprocessing.parent_process():
        end_with(parent.pid or 0)
    app = build()
    GracefulShutdown(app.state.auth).install()
    return app


def _serve_alone(config: uvicorn.Config, listener: socket.socket) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn raises the signal again when all is over
    ignore_operators()  # gunicorn goes on as well; there is nothing to reload here
    server = uvicorn.Server(config)
    server.run([listener])
    if not server.started:
        raise SystemExit(STARTUP_FAILURE)


def _leave(_number: int, _frame: FrameType | None) -> None:
    ignore_signals()
    raise SystemExit(0)


def _serve_with_workers(config: uvicorn.Config, listener: socket.socket) -> None:
    ignore_operators()  # uvicorn's own handler of SIGHUP, which begins the workers anew, comes after it
    supervisor = Supervisor(config, [listener])
    # uvicorn's own hears nothing while it waits for its workers.
    on_signals(
        stop=lambda: supervisor.signal_queue.append(signal.SIGTERM),
        hurry=supervisor.tell_workers,
    )
    supervisor.run()


class Supervisor(Multiprocess):
    """The parent of several workers."""

    def tell_workers(self) -> None:
        """Pass a signal on."""
        for worker in self.processes:
            worker.process.terminate()

    def terminate_all(self) -> None:
        """Tell the workers to stop, and keep no listener: who comes to it would wait there for nobody."""
        for listener in self.sockets:
            listener.close()
        super().terminate_all()
