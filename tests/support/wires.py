"""The network between the service and a PostgreSQL server, which can be cut, silenced, and forget connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import make_url


class Wire:
    """A TCP proxy before a server, which can be cut off without anybody being told."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._passing = threading.Event()
        self._passing.set()
        self._sockets: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        self.connections = 0
        """How many there were."""
        self.is_refusing = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def go_silent(self) -> None:
        """Take everything, pass nothing on."""
        self._passing.clear()

    def forget(self) -> None:
        """Pass nothing on of the connections that there are, as a firewall that forgot them; new ones work."""
        self._forgotten.update(self._sockets)

    def pass_on(self) -> None:
        self._passing.set()

    def close(self) -> None:
        self._listener.close()
        self.reset()
        self._passing.set()

    def reset(self) -> None:
        """Break every connection."""
        for found in self._sockets:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)  # seen at once, where a `close` would wait for the thread that reads
            found.close()
        self._sockets.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self.is_refusing:
                    client.close()
                    continue
                server = socket.create_connection(self._upstream)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                if source not in self._forgotten:
                    sink.sendall(data)
        for found in (source, sink):
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire_to(url: str) -> Iterator[Wire]:
    """A wire to the server of a database."""
    there = make_url(url)
    assert there.host is not None
    assert there.port is not None
    made = Wire(there.host, there.port)
    try:
        yield made
    finally:
        made.close()
