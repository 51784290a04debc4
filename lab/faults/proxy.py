"""A TCP proxy that can be made slow, deaf or absent, or cut what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.support.drivers import event_loop

HOST = "127.0.0.1"
SECONDS = 10  # for the proxy to do as it is told


class Proxy:
    """Passes bytes on to a port of this machine, on a port of its own that it keeps."""

    def __init__(self, upstream: int, loop: asyncio.AbstractEventLoop) -> None:
        self._upstream = upstream
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._latency = 0.0
        self._needle = b""
        self._cuts = Random()
        self._share = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def open(self) -> None:
        """Listen, on the same port as before."""
        self._do(self._open())

    def close(self) -> None:
        """Refuse whoever comes, and reset whoever is there."""
        self._do(self._close())

    def reset(self) -> None:
        """Reset every connection; new ones are welcome."""
        self._do(self._reset())

    def swallow(self) -> None:
        """A black hole: connections stand and new ones are taken, and no byte arrives, in either direction.

        Nor is one lost: as TCP would send them again, they arrive when the hole is closed.
        """
        self._do(self._pass_on(value=False))

    def delay(self, seconds: float) -> None:
        """Let every piece take this long, in each direction."""
        self._latency = seconds

    def cut(self, needle: bytes, share: float, cuts: Random) -> None:
        """Of the pieces in which these bytes stand, lose a share, and the connection with each."""
        self._needle, self._share, self._cuts = needle, share, cuts

    def heal(self) -> None:
        """Be a plain proxy again."""
        self._latency = 0.0
        self._needle = b""
        self._do(self._pass_on(value=True))
        if self._server is None:
            self.open()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._handle, HOST, self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass_on(self, *, value: bool) -> None:
        if value:
            self._passing.set()
        else:
            self._passing.clear()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except* OSError:
            pass  # the server is away, or one side is gone
        except* asyncio.CancelledError:
            pass  # the connection is to be reset
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self._upstream)
        try:
            async with asyncio.TaskGroup() as both:  # where one direction breaks, the other ends as well
                both.create_task(self._pump(reader, upstream_writer))
                both.create_task(self._pump(upstream_reader, writer))
        finally:
            upstream_writer.transport.abort()
            with contextlib.suppress(OSError):
                await upstream_writer.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            if self._latency:
                await asyncio.sleep(self._latency)
            if self._needle and self._needle in data and self._cuts.random() < self._share:
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        writer.write_eof()


@contextmanager
def proxying(upstream: int) -> Iterator[Proxy]:
    """A proxy in front of a port, closed at the end."""
    with event_loop() as loop:
        proxy = Proxy(upstream, loop)
        proxy.open()
        try:
            yield proxy
        finally:
            proxy.heal()
            proxy.close()
