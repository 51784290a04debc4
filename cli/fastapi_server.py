"""FastAPI on uvicorn, with the settings that the measurements and the attacks of the trade ask for."""

import asyncio
import signal
import time
from contextlib import suppress
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import ChangeReload, multiprocess

from cli.plain import settings
from cli.preparation import edge
from core.errors import AuthError, MalformedRequest, RequestTimeout
from core.http.edge import MAX_SECONDS

GRACE = 30  # seconds for requests in flight when the server has stopped listening
KEEP_ALIVE = 5
STARTUP_FAILURE = 3  # the exit code of both servers where the application cannot be built


class ContractProtocol(HttpToolsProtocol):
    """Answers what it cannot read as the contract does, and waits for no request without an end.

    uvicorn itself waits for ever for the rest of a head or a body, and for the first byte of a connection.
    """

    _deadline: asyncio.TimerHandle | None = None
    _is_unread = True
    _has_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Give the client its seconds."""
        super().connection_made(transport)
        self._expect_all_in_time()

    def on_message_begin(self) -> None:
        """Give the next request on the connection its own."""
        super().on_message_begin()
        self._is_unread, self._has_head = False, False
        if self._deadline is None:
            self._expect_all_in_time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, and none behind the last chunk.

        uvicorn adds those to the head of a request that is being answered already: a token or an address in a trailer
        would count at this door alone, and behind a proxy that has looked at the head (RFC 9110 section 6.5.1).
        """
        if not self._has_head:
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._has_head = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it has come."""
        self._stop_the_clock()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._stop_the_clock()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer and close."""
        self._refuse(MalformedRequest())

    def _expect_all_in_time(self) -> None:
        self._deadline = self.loop.call_later(MAX_SECONDS, self._give_up)

    def _stop_the_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        has_answered = self.cycle is not None and self.cycle.response_started
        if self._is_unread or has_answered:
            self.transport.close()
        else:
            self._refuse(RequestTimeout())

    def _refuse(self, error: AuthError) -> None:
        self.transport.write(edge("fastapi").unreadable(error))
        self.transport.close()


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
        # h11 takes Content-Length with chunks, folded headers and bare line feeds, the makings of smuggling;
        # this one is httptools.
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
