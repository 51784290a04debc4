"""Flask on gunicorn, with the settings that the measurements and the attacks of the trade ask for."""

import logging
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

from cli.plain import settings
from cli.preparation import edge
from core.errors import AuthError, BodyTooLarge, HeadersTooLarge, InternalError, MalformedRequest, TargetTooLong
from core.http.edge import MAX_FIELD, MAX_FIELDS
from core.http.problems import status_of
from core.passwords import threads

GRACE = 30  # seconds for requests in flight when the server is told to stop
KEEP_ALIVE = 5


def serve(host: str, port: int, workers: int, *, reload: bool) -> None:
    """Serve until a signal ends it."""
    wsgi.Response = ContractResponse
    _Gunicorn(
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": workers,
            "worker_class": f"{__name__}.{ContractWorker.__name__}",
            "threads": threads(settings().passwords),
            "keepalive": KEEP_ALIVE,
            "graceful_timeout": GRACE,
            "reload": reload,
            "logger_class": PropagatingLogger,
            "control_socket_disable": True,
            # The edge reads X-Forwarded-For itself; from a peer on this machine gunicorn would take the scheme and
            # even the path's prefix from any client's headers.
            "forwarded_allow_ips": "",
            "secure_scheme_headers": {},
            "forwarder_headers": "",
            "limit_request_fields": MAX_FIELDS,
            "limit_request_field_size": 2 * MAX_FIELD,  # the edge draws the line, for both doors alike
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


class ContractWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Answers what it cannot read as the contract does, and logs nothing of it."""

    def handle_error(self, _request: Any, client: Any, _address: Any, error: Exception) -> None:
        """Answer; the connection is closed afterwards."""
        refusal = _refusal(error)
        if isinstance(refusal, InternalError):
            self.log.error("Error handling a request", exc_info=error)
        else:
            self.log.warning("Invalid HTTP request received.")
        try:
            util.write(client, edge().unreadable(refusal))
        except OSError:
            self.log.debug("The client went away.")


def _refusal(error: Exception) -> AuthError:
    match error:
        case LimitRequestLine():
            return TargetTooLong()
        case LimitRequestHeaders():
            return HeadersTooLarge()
        case ParseException():
            return MalformedRequest()
        case _:
            return InternalError()


class ContractResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn ships no types
    """A response without a banner, which names what to attack and has no setting; and one that knows when to end."""

    def default_headers(self) -> list[str]:
        """The lines that the server adds."""
        if self.status_code == status_of(BodyTooLarge):
            self.must_close = True  # the rest of the body is still in the connection
        return [line for line in super().default_headers() if not line.startswith("Server:")]


class PropagatingLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Leaves gunicorn's lines to the process's own logging, but for those that quote requests."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        """Add no handler; the access line is written at the edge."""
        self.error_log.propagate = True
        self.error_log.handlers = []
        self.error_log.setLevel(max(logging.INFO, logging.getLogger().level))  # DEBUG names every raw path
        self.access_log.handlers = []

    def access(self, *_: Any) -> None:
        """Write nothing."""
