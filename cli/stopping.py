"""How a server ends: it becomes deaf, serves whoever it has taken, and does not wait where it is told twice.

Signal handlers run between any two steps of what they interrupt, another handler included. What takes a lock in one is
noted before it is done, and not done again: it would wait for itself.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the parent of both doors needs none of it
    from core.app import AuthApp

GRACE = 30  # seconds for requests in flight when the server has stopped listening
# Seconds in which a connection that is idle may still bring a request when the process stops; it is answered, and told
# that the connection ends (RFC 9112 section 9.6). Who sends later meets a closed connection.
FAREWELL = 2
SETTLE = 0.1  # seconds; handshakes that had begun are over, also where the process was kept from running
HASTE = 2  # seconds that are left after a second signal
# Signals that come within this many seconds are one: systemd sends it to every process of a service, a terminal to
# every process of a group, and the parents among them pass it on.
ONE_SIGNAL = 1

_SO_ATTACH_FILTER = 26
# Classic BPF over the TCP header: of SYN and ACK in the flags, SYN alone is dropped.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),
    (0x54, 0, 0, 0x12),
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


def deafen(listener: socket.socket) -> None:
    """Let nobody begin to connect any more; who has begun can still be accepted.

    The kernel resets what waits in the line of a listener that closes, and between the last look at the line and the
    closing somebody comes. Whoever asks a deaf listener asks again after a second, and is refused by then.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_NEW_CONNECTIONS))
    program = struct.pack("HL", len(_NO_NEW_CONNECTIONS), ctypes.addressof(code))
    with suppress(OSError):  # a sandbox may know no filters; then it is as elsewhere
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def let_go(listeners: Sequence[socket.socket], seconds: float) -> None:
    """Deafen the listeners of workers in so many seconds, when these stop to listen, and close them here.

    As long as any process keeps one open, it fills with callers whom nobody hears. No worker does this itself, for
    others may go on with the same listener.
    """
    if not seconds:
        _let_go(listeners)
        return
    timer = threading.Timer(seconds, _let_go, [listeners])
    timer.daemon = True
    timer.start()


def _let_go(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        deafen(listener)
        listener.close()


class Order(Enum):
    """What a signal tells a server."""

    DRAIN = auto()  # to go on for a while, and then to stop listening
    NOTHING = auto()  # what it knows
    HURRY = auto()


def order_of(since_first: float | None) -> Order:
    """What a signal means that comes so many seconds after the first, or that is the first."""
    if since_first is None:
        return Order.DRAIN
    return Order.HURRY if since_first > ONE_SIGNAL else Order.NOTHING


class Departure:
    """When a server stops that is told to: after its drain, and at once where it is told twice."""

    _heard: float | None = None
    _at: float = math.inf
    _has_turned = False

    def is_due(self) -> bool:
        """Whether it is time to stop listening."""
        return time.monotonic() >= self._at

    def hear(self, auth: AuthApp | None) -> None:
        """Take a signal. Without a service that is served by now there is nothing to drain."""
        now = time.monotonic()
        order = order_of(None if self._heard is None else now - self._heard)
        self._heard = now if self._heard is None else self._heard
        if auth is not None:
            self.turn(auth)
        if order is Order.DRAIN:
            self._at = min(self._at, now + (0 if auth is None else auth.settings.http.drain.total_seconds()))
        if order is Order.HURRY:
            self._at = now
            _hurry()

    def turn(self, auth: AuthApp) -> None:
        """Say from now on that the service is not ready."""
        if not self._has_turned:
            self._has_turned = True
            auth.stopping.set()


def _hurry() -> None:
    """End the process soon, whatever is under way by then."""
    timer = threading.Timer(HASTE, os._exit, [0])
    timer.daemon = True
    timer.start()


def leave_in_peace() -> None:
    """Ignore further signals: one that comes when Python has taken its handlers away would kill the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
