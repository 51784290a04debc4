"""The addresses that the doors listen on, and the message if one is taken."""

import atexit
import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

_LISTENING = "0A"


def port_of_platform() -> int | None:
    """The port that a platform (Heroku, Render, Cloud Run) wants served, in the variable `PORT`."""
    text = os.environ.get("PORT", "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:  # noqa: PLR2004 - ports have 16 bits
        raise click.ClickException("the variable PORT is no port; unset it, or give --port")
    return int(text)


def bound(host: str, port: int, *, option: str) -> socket.socket:
    """Bind a socket to this address, for a server and its child processes; `::` is all of IPv4 as well."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if host == "::":
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # the system may have another default
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(_reason(error, host, port, option)) from None
    return listener


def bound_to_file(path: Path) -> socket.socket:
    """Bind a Unix socket, which is removed when this process ends.

    The file that a killed process has left is replaced. Its group may connect, as a rule that of the proxy in front:
    a peer without an address is believed what it says of its callers.
    """
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o117)
    try:
        _remove_stale(path)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise click.ClickException(f"cannot listen on {path}: {error.strerror or error}") from None
    finally:
        os.umask(mask)
    owner = os.getpid()  # a worker that is forked from it ends as well
    atexit.register(lambda: path.unlink(missing_ok=True) if os.getpid() == owner else None)
    return listener


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        return  # a file of another kind is not ours to remove, and binding fails
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            return  # binding says why
        else:
            raise click.ClickException(f"{path} is taken by a process that listens there")


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
