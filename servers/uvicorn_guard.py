"""What uvicorn's protocol needs, so that its own ways break no promise.

httptools keeps a header field of 60 MB while it arrives, gives out the fields behind a body as if they were of the head
(`Authorization`, `X-Forwarded-For`), and gives no body of a request that offers an upgrade, as Java's own client does
with each. uvicorn waits for a first request without an end, and closes connections under requests on their way.
"""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from core.errors import AuthError, BodyTooLarge, HeadersTooLarge, MalformedRequest
from core.http.edge.limits import MAX_SECONDS
from servers.stopping import LINGER

# Bytes of one request with its framing: a body in chunks of a byte is six times as long. What comes in one read with
# its beginning is not counted, at most 256 KB.
MAX_REQUEST = 512 * 1024


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    _bytes = 0  # of the request that is being read
    _is_in_head = True
    _is_passed_over = False  # the parser is being told of a head that is known
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn itself does
        """Give the client its seconds for a first head."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(MAX_SECONDS, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Parse what has come. What a refused client still sends is thrown away."""
        if self._is_refused:
            return
        self._bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_offer(data[offer.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(self.config.loaded_app.state.edge.fault_of_method(data))
        except httptools.HttpParserError:
            self._refuse(MalformedRequest())
        if self._bytes > MAX_REQUEST and not self._is_refused:
            self._refuse(HeadersTooLarge() if self._is_in_head else BodyTooLarge())

    def _pass_over_offer(self, rest: bytes) -> None:
        """Read on behind the head of a request that offers an upgrade, which may be ignored (RFC 9110 section 7.8).

        The parser takes the request for complete there. Another one is told of its framing alone, and gives the body.
        """
        if self.scope["method"] == "CONNECT":  # the edge answers it; what follows is no request
            self._is_refused, self.cycle.keep_alive = True, False
            return
        framing = [field for field in self.headers if field[0] in (b"content-length", b"transfer-encoding")]
        self.cycle.more_body, self._is_in_head, self._is_passed_over = True, False, True
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(b"%s: %s\r\n" % field for field in framing))
        self._is_passed_over = False
        self.data_received(rest)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        if not self._is_passed_over:
            self._bytes, self._is_in_head = 0, True
            super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, and none behind the body: it comes past a proxy that has looked at the head."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to serve; from the moment the process is told to stop, each answer says that the connection ends."""
        if self._is_passed_over:
            return
        self._unset_keepalive_if_required()
        super().on_headers_complete()
        self._is_in_head = False
        if self.config.loaded_app.state.auth.stopping.is_set():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Know that what comes next begins another request."""
        self._is_in_head = True
        super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes, and drops the answer in the making
        """Answer a client that has asked and sends no more."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """End behind the answer; an idle connection may still bring a request, as at gunicorn."""
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LINGER, super().shutdown)
        else:
            super().shutdown()

    def _refuse(self, error: AuthError) -> None:
        """Answer what is no request as the edge does, or end the connection behind the answers to those before it."""
        self._is_refused = True
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and (self._is_in_head or self.pipeline or not self.cycle.more_body):
            self.cycle.keep_alive = False
            return
        if self._is_in_head or is_answering:  # else it has its answer, and the rest of it is what is refused
            edge, peer = self.config.loaded_app.state.edge, self.client
            self.transport.write(edge.unreadable(error, peer[0] if peer else ""))
        if is_answering:  # this was the answer; the application is told that nobody waits for another one
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closing with bytes that nobody has read resets the connection, and the answer is lost with it.
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)
