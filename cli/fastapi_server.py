"""FastAPI on uvicorn, with the settings that the measurements and the attacks of the trade ask for."""

import asyncio
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
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.edge import MAX_SECONDS

GRACE = 30  # seconds for requests in flight when the server has stopped listening
KEEP_ALIVE = 5
SETTLE = 0.1  # seconds; a turn of the loop, also where the process was kept from running
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

    def on_response_complete(self) -> None:
        """Serve what has come meanwhile."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._go_on()

    def shutdown(self) -> None:
        """Close when nothing is under way; a request that has begun to arrive has its seconds still."""
        if not self._arrivals.has_begun:
            super().shutdown()

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

    _stop_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal does not wait."""
        drain = settings().http.drain.total_seconds()
        if self.started:
            self.config.loaded_app.state.auth.stopping.set()
        if self._stop_at is None and drain and self.started:
            self._stop_at = time.monotonic() + drain
            self._captured_signals.append(sig)
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hear those who came before the signal: the kernel resets what waits in the line of a listener that closes."""
        await asyncio.sleep(SETTLE)
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Stop when the time has come."""
        is_over = self._stop_at is not None and time.monotonic() >= self._stop_at
        return await super().on_tick(counter) or is_over


# The supervisor of several workers makes their servers by this name; each of them imports this module for its protocol.
multiprocess.Server = DrainingServer  # type: ignore[attr-defined]  # imported there, and used as its own


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    # uvicorn shuts down in good order and then raises the signal again, which would end the process with -15.
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
    with suppress(KeyboardInterrupt):  # raised again by uvicorn when everything is over
        if reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif workers > 1:
            multiprocess.Multiprocess(config, sockets=[config.bind_socket()]).run()
        else:
            server.run()
            if not server.started:
                raise SystemExit(STARTUP_FAILURE)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """The server has stopped by now, or has not started yet."""
    raise SystemExit(0)
