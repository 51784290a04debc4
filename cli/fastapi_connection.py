"""A connection of the FastAPI door: what arrives on it is collected, and given to uvicorn's parser when it is whole."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cli.arrivals import LINGER, Arrivals, Refused
from cli.stopping import FAREWELL
from core.errors import AuthError, InternalError, MalformedRequest, RequestTimeout
from core.http.admission import MAX_SECONDS


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
