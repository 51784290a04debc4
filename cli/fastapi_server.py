"""FastAPI on uvicorn, with the settings that the measurements and the attacks of the trade ask for."""

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from uvicorn.supervisors import ChangeReload, multiprocess

from cli.arrivals import KEEP_ALIVE
from cli.fastapi_connection import ContractProtocol
from cli.plain import settings
from cli.stopping import GRACE, SETTLE, Departure, deafen, leave_in_peace, let_go
from core.app import AuthApp

STARTUP_FAILURE = 3  # the exit code of both servers where the application cannot be built


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    signal.signal(signal.SIGTERM, _leave)
    drain = settings().http.drain.total_seconds()
    config = uvicorn.Config(
        "api_fastapi.asgi:application",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        reload=reload,
        loop="uvloop",
        http=ContractProtocol,
        ws="none",
        # The edge reads X-Forwarded-For itself; uvicorn would believe anybody on this machine.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    server = DrainingServer(config)
    with suppress(KeyboardInterrupt):
        if reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif workers > 1:
            ForwardingSupervisor(config, sockets=[config.bind_socket()], drain=drain).run()
        else:
            server.run()
            if not server.started:
                raise SystemExit(STARTUP_FAILURE)
    leave_in_peace()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """The server has stopped by now, or has not started yet."""
    leave_in_peace()
    raise SystemExit(0)


class DrainingServer(uvicorn.Server):
    """Says that it is not ready when it is told to stop, and stops when the load balancer can have noticed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._departure = Departure()

    @property
    def _auth(self) -> AuthApp:
        """The service, when the server has started."""
        auth: AuthApp = self.config.loaded_app.state.auth
        return auth

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait. uvicorn's own would raise it again when everything is over."""
        self._departure.hear(self._auth if self.started else None)
        self.should_exit = self._departure.is_due()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hear those who came before the listener closes."""
        self._departure.turn(self._auth)
        if sockets is None:  # those that are shared by workers are not this one's to deafen
            self._deafen()
        await asyncio.sleep(SETTLE)
        await super().shutdown(sockets)

    def _deafen(self) -> None:
        for server in self.servers:
            for listener in server.sockets:
                with socket.socket(fileno=os.dup(listener.fileno())) as own:
                    deafen(own)

    async def on_tick(self, counter: int) -> bool:
        """Stop when the time has come."""
        return await super().on_tick(counter) or self._departure.is_due()


class DrainingProcess(multiprocess.Process):
    """A worker with a server that drains."""

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, in the process that was started."""
        self._server = DrainingServer(self.config)
        super().target(sockets)


class ForwardingSupervisor(multiprocess.Multiprocess):
    """Lets go of the listener with its workers, and passes a second signal on."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], *, drain: float) -> None:
        multiprocess.Process = DrainingProcess  # type: ignore[misc]  # which uvicorn makes by this name
        super().__init__(config, sockets)
        self._drain = drain
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        # At once: uvicorn's own looks twice a second, and the workers may have been sent the same signal.
        listeners, self.sockets = self.sockets, []
        let_go(listeners, self._drain)
        self.signal_queue.append(number)

    def join_all(self) -> None:
        """Wait for the workers. uvicorn's own hears nothing by then."""
        while workers := [process.pid for process in self.processes if process.process.is_alive()]:
            while self.signal_queue:
                _tell(workers, self.signal_queue.pop())
            time.sleep(SETTLE)


def _tell(workers: list[int | None], number: int) -> None:
    for worker in workers:
        if worker is not None and number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, signal.SIGTERM)
