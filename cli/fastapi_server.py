"""FastAPI on uvicorn, with the settings that the measurements and the attacks of the trade ask for."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import ChangeReload, multiprocess

from cli.arrivals import LINGER, Arrivals, Refused
from cli.plain import settings
from cli.preparation import edge
from cli.stopping import FAREWELL, SETTLE, Departure, deafen, leave_in_peace, let_go
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.admission import MAX_SECONDS

GRACE = 30  # seconds for requests in flight when the server has stopped listening
KEEP_ALIVE = 5
STARTUP_FAILURE = 3  # the exit code of both servers where the application cannot be built


class ContractProtocol(HttpToolsProtocol):
    """Gives a request to the parser when it has arrived, and answers what becomes none as the contract does.

    uvicorn itself waits for ever for the rest of a head or a body, and for the first byte of a connection.
    """

    _arrivals: Arrivals
    _deadline: asyncio.TimerHandle | None = None
    _has_ended = False
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Give the client its seconds."""
        super().connection_made(transport)
        self._arrivals = Arrivals(edge("fastapi"), self.client[0] if self.client else "")
        self._set_the_clock(MAX_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Collect it. What a refused client still sends is thrown away."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        self._arrivals.take(data)
        self._go_on()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes, and drops the answer in the making
        """The client sends no more; it may still wait for the answers."""
        if self._is_refused:
            return False
        self._has_ended = True
        self._go_on()
        return True

    def on_headers_complete(self) -> None:
        """Begin to serve; from the moment the process is told to stop, each answer says that the connection ends."""
        super().on_headers_complete()
        if self.config.loaded_app.state.auth.stopping.is_set() and not self._arrivals.has_begun:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Serve what has come meanwhile."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._go_on()

    def shutdown(self) -> None:
        """Close behind the answer, or soon where none is under way; a request that has begun has its seconds still."""
        if self._is_idle():
            self.loop.call_later(FAREWELL, self._part)
        elif not self._arrivals.has_begun:
            super().shutdown()

    def _is_idle(self) -> bool:
        return not self._arrivals.has_begun and (self.cycle is None or self.cycle.response_complete)

    def _part(self) -> None:
        if self._is_idle():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._stop_the_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer what should not happen: the parser refuses what the reader took."""
        self._refuse(self._arrivals.refused(InternalError()))

    def _go_on(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if len(self._arrivals) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            return
        match self._arrivals.next():
            case Refused() as refused:
                self._refuse(refused)
            case None:
                self._wait_for_more()
            case request:
                self._stop_the_clock()
                self._unset_keepalive_if_required()
                super().data_received(request)

    def _wait_for_more(self) -> None:
        if self._has_ended:
            self._give_up_on(MalformedRequest())
        elif len(self._arrivals) or self._arrivals.has_begun:
            self._unset_keepalive_if_required()
            if self._deadline is None:
                self._set_the_clock(MAX_SECONDS, self._give_up)
            self.transport.write(self._arrivals.go_ahead())

    def _give_up(self) -> None:
        self._give_up_on(RequestTimeout())

    def _give_up_on(self, error: AuthError) -> None:
        if self._arrivals.has_begun:
            self._refuse(self._arrivals.refused(error))
        else:
            self.transport.close()

    def _refuse(self, refused: Refused) -> None:
        self._is_refused = True
        self.transport.write(refused.answer)
        self.flow.resume_reading()
        if self._has_ended:
            self.transport.close()
            return
        self.transport.write_eof()
        self._set_the_clock(LINGER, self.transport.close)

    def _set_the_clock(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_the_clock()
        self._deadline = self.loop.call_later(seconds, then)

    def _stop_the_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class DrainingServer(uvicorn.Server):
    """Says that it is not ready when it is told to stop, and stops when the load balancer can have noticed."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._departure = Departure()

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait. uvicorn's own would raise it again when everything is over."""
        if self.started:
            self.config.loaded_app.state.auth.stopping.set()
        self._departure.hear(settings().http.drain.total_seconds() if self.started else 0)
        self.should_exit = self._departure.is_due()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hear those who came before the listener closes."""
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


class ForwardingSupervisor(multiprocess.Multiprocess):
    """Lets go of the listener with its workers, and passes a second signal on."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        # At once: uvicorn's own looks twice a second, and the workers may have been sent the same signal.
        listeners, self.sockets = self.sockets, []
        let_go(listeners, settings().http.drain.total_seconds())
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


# The supervisor of several workers makes their servers by this name; each of them imports this module for its protocol.
multiprocess.Server = DrainingServer  # type: ignore[attr-defined]  # imported there, and used as its own


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    signal.signal(signal.SIGTERM, _leave)
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
            ForwardingSupervisor(config, sockets=[config.bind_socket()]).run()
        else:
            server.run()
            if not server.started:
                raise SystemExit(STARTUP_FAILURE)
    leave_in_peace()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """The server has stopped by now, or has not started yet."""
    leave_in_peace()
    raise SystemExit(0)
