"""The addresses that the doors listen on, and the message if one is taken."""

import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

_LISTENING = "0A"


def bound(host: str, port: int, *, option: str) -> socket.socket:
    """Bind a socket to this address, for a server and its child processes."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(_reason(error, host, port, option)) from None
    return listener


def _reason(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host}:{port}: {error.strerror}"
    holder = next(_holders(port), None)
    taken = f"{host}:{port} is taken{f' by {holder}' if holder else ''}"
    return f"{taken}; choose another port with {option}"


def _holders(port: int) -> Iterator[str]:
    """The processes that listen on a port, as far as Linux shows them to this user."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in sorted(Path("/proc").glob("[0-9]*")) if sockets else ():
        with suppress(OSError):  # another user's, or it has ended
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} (process {process.name})"


def _inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):  # elsewhere than on Linux
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
