"""A connection of the FastAPI door: what arrives on it is collected, and given to uvicorn's parser when it is whole."""

import asyncio
import socket
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cli.arrivals import LINGER, RESET, Arrivals, Refused
from cli.stopping import FAREWELL
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.edge.limits import MAX_SECONDS


class ContractProtocol(HttpToolsProtocol):
    """Gives a request to the parser when it has arrived, and answers what becomes none as the contract does.

    uvicorn itself waits for ever for the rest of a head or a body, for the first byte of a connection, and for the
    client to take its answer.
    """

    _arrivals: Arrivals
    _deadline: asyncio.TimerHandle | None = None
    _then: Callable[[], None] | None = None  # what is done when the client has taken what was answered
    _has_ended = False
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Give the client its seconds."""
        super().connection_made(transport)
        self._arrivals = Arrivals(self.config.loaded_app.state.edge, self.client[0] if self.client else "")
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
        self._has_ended = True
        if self._is_refused:
            return False
        self._go_on()
        return True

    def on_headers_complete(self) -> None:
        """Begin to serve; from the moment the process is told to stop, each answer says that the connection ends."""
        super().on_headers_complete()
        if self.config.loaded_app.state.auth.stopping.is_set() and not self._arrivals.has_begun:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """Let the client take its answer. Who sends requests and reads nothing would fill the memory with answers."""
        self._let_take(self._finish)

    def _finish(self) -> None:
        """Serve what has come behind a request, or wait for the next one."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._go_on()

    def pause_writing(self) -> None:
        """Hear that the client does not take what is sent at once, and give it its seconds."""
        super().pause_writing()
        if self._deadline is None:
            self._set_the_clock(MAX_SECONDS, self._cut_off)

    def resume_writing(self) -> None:
        """Hear that the client has taken enough to be sent more: all of it, where the answer is complete."""
        super().resume_writing()
        if self._then is not None:
            self._taken(self._then)

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
        if self._is_answering():
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

    def _is_answering(self) -> bool:
        return self._then is not None or (self.cycle is not None and not self.cycle.response_complete)

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
        self._stop_the_clock()
        self.transport.write(refused.answer)
        self.flow.resume_reading()
        self._let_take(self._end)

    def _let_take(self, then: Callable[[], None]) -> None:
        """Go on with the connection when the client has taken what was answered, and not before."""
        self._then = then
        self.transport.set_write_buffer_limits(0)  # until nothing is left, instead of a little
        if not self.flow.write_paused:
            self._taken(then)

    def _taken(self, then: Callable[[], None]) -> None:
        self._then = None
        self._stop_the_clock()
        self.transport.set_write_buffer_limits()
        then()

    def _cut_off(self) -> None:
        """Throw away what was not taken."""
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()

    def _end(self) -> None:
        """Send no more, and give the client its seconds to do the same."""
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
