"""What `servers` uses of gunicorn and uvicorn beyond their documented settings, all of it: an upgrade fails here first.

A failure says: read what became of the name in the new version, and what it did here (docs/decisions/0015).
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import gunicorn.arbiter
import httptools
import pytest
import uvicorn
from gunicorn import util
from gunicorn.http import body, message, parser, unreader, wsgi
from gunicorn.workers import base, gthread
from uvicorn.protocols.http import flow_control, httptools_impl
from uvicorn.supervisors import multiprocess

from servers import fastapi, gunicorn_guard, uvicorn_guard

# Methods of theirs that are overridden, with the parameters that they have.
OVERRIDDEN: dict[tuple[type, type], dict[str, str]] = {
    (gunicorn_guard.GuardedRequest, message.Request): {
        "parse": "self, unreader",
        "parse_headers": "self, data, from_trailer=False",
        "should_close": "self",
    },
    (gunicorn_guard.BannerlessResponse, wsgi.Response): {"default_headers": "self"},
    (gunicorn_guard.GuardedWorker, gthread.ThreadWorker): {
        "get_thread_pool": "self",
        "enqueue_req": "self, conn",
        "handle": "self, conn",
        "handle_request": "self, req, conn",
        "finish_request": "self, conn, fs",
        "handle_error": "self, req, client, addr, exc",
        "set_accept_enabled": "self, enabled",
    },
    (uvicorn_guard.GuardedProtocol, httptools_impl.HttpToolsProtocol): {
        "connection_made": "self, transport",
        "data_received": "self, data",
        "on_message_begin": "self",
        "on_header": "self, name, value",
        "on_headers_complete": "self",
        "on_message_complete": "self",
        "eof_received": "self",
        "shutdown": "self",
    },
    (fastapi.Supervisor, multiprocess.Multiprocess): {"terminate_all": "self"},
}
# Names of theirs that are read, called or set.
USED: dict[Any, str] = {
    message.Request: "_policy_expect_continue version headers body force_close",
    body.LengthReader: "length",
    body.ChunkedReader: "parser",
    body.Body: "reader",
    parser.RequestParser: "mesg_class unreader",
    unreader.SocketUnreader: "sock",
    wsgi: "Response create",
    gthread.ThreadWorker: "accept on_pending_socket_readable pending_conns poller method_queue nr_conns tpool",
    base.Worker: "alive booted cfg sockets",
    gthread.TConn: "sock client parser initialized data_ready timeout close",
    gthread.PollableMethodQueue: "defer",
    gunicorn.arbiter.Arbiter: "signal SIG_QUEUE",
    util: "close_graceful",
    httptools_impl.HttpToolsProtocol: "_unset_keepalive_if_required timeout_keep_alive_task timeout_keep_alive_handler "
    "parser headers scope cycle pipeline flow transport loop client config",
    httptools_impl.RequestResponseCycle: "keep_alive more_body response_complete disconnected message_event",
    flow_control.FlowControl: "resume_reading",
    multiprocess.Multiprocess: "signal_queue processes sockets",
    multiprocess.Process: "process",
}


@pytest.mark.parametrize(("ours", "theirs"), OVERRIDDEN)
def test_what_is_overridden_is_there_with_its_parameters_and_is_listed(ours: type, theirs: type) -> None:
    listed = OVERRIDDEN[ours, theirs]
    own = {name for name, value in vars(ours).items() if inspect.isfunction(value) and hasattr(theirs, name)}
    assert own - {"__init__"} == listed.keys()
    for name, parameters in listed.items():
        found = inspect.signature(getattr(theirs, name)).parameters.values()
        said = ", ".join(str(one.replace(annotation=inspect.Parameter.empty)).replace(" = ", "=") for one in found)
        assert said == parameters, name


@pytest.mark.parametrize("owner", USED, ids=lambda owner: owner.__name__)
def test_what_is_used_is_there(owner: Any) -> None:
    """As an attribute, or as one that is set on each object."""
    source = inspect.getsource(owner)
    inherited = "".join(inspect.getsource(base) for base in getattr(owner, "__mro__", ())[1:-1])
    for name in USED[owner].split():
        assert hasattr(owner, name) or f"self.{name} = " in source + inherited or f"self.{name}: " in source, name


def test_no_other_private_name_is_used() -> None:
    used, ours = set(), set()
    for path in Path(fastapi.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="os")):
                    pass
                case ast.Attribute(attr=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.Name(id=name):
                    ours.add(name)
                case ast.Attribute(attr=name):
                    used.add(name)
    used, ours = ({name for name in names if re.match(r"_(?!_)", name)} for names in (used, ours))
    assert used - ours == {"_unset_keepalive_if_required"}
    assert {name for name in ours if hasattr(message.Request, name)} == {"_policy_expect_continue"}


def test_gunicorn_still_looks_its_response_up_when_it_makes_one() -> None:
    assert "response_class = Response" in inspect.getsource(wsgi.create)


def test_gunicorn_still_hurries_at_a_sigquit_while_it_stops() -> None:
    assert "pending_sig in (signal.SIGINT, signal.SIGQUIT)" in inspect.getsource(gunicorn.arbiter.Arbiter.stop)


def test_gunicorn_still_takes_a_parser_that_a_connection_has_already() -> None:
    assert "if self.parser is None:" in inspect.getsource(gthread.TConn.init)


def test_uvicorn_still_builds_the_application_where_it_hears_signals() -> None:
    """The door's own handlers stand before those of uvicorn, and so must come after them."""
    source = inspect.getsource(uvicorn.Server._serve)
    assert "config.load()" in source
    assert "with self.capture_signals():\n            await self._serve(sockets)" in inspect.getsource(
        uvicorn.Server.serve
    )


class Silent:
    """A protocol that wants to know nothing."""

    def on_message_complete(self) -> None:
        """Hear that it is complete."""


def test_httptools_still_says_where_a_request_that_offers_an_upgrade_ends() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as raised:
        httptools.HttpRequestParser(Silent()).feed_data(head + b"{}")
    assert raised.value.args == (len(head),)
