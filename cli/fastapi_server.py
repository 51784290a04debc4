"""FastAPI on uvicorn, with the settings that the measurements and the attacks of the trade ask for."""

import signal
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cli.preparation import edge
from core.errors import MalformedRequest

GRACE = 30  # seconds for requests in flight when the server is told to stop
KEEP_ALIVE = 5


class ContractProtocol(HttpToolsProtocol):
    """Answers what it cannot read as the contract does."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer and close."""
        self.transport.write(edge().unreadable(MalformedRequest()))
        self.transport.close()


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    # uvicorn shuts down in good order and then raises the signal again, which would end the process with -15.
    signal.signal(signal.SIGTERM, _leave)
    uvicorn.run(
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


def _leave(_number: int, _frame: FrameType | None) -> None:
    """The server has stopped by now, or has not started yet."""
    raise SystemExit(0)
