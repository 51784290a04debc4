"""Front doors as children of one process: started together, started again when the code changes, ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from servers.stopping import ignore_signals, on_signals

BACKLOG = 2048
PACKAGES = ("core", "api_fastapi", "api_flask", "servers", "cli", "migrations")
_LOOK_SECONDS = 0.2

Files = Mapping[Path, float]


class Door:
    """A front door in a process of its own. The listener is the parent's too: callers wait while the door restarts."""

    _is_stopped = False

    def __init__(self, framework: str, listener: socket.socket, workers: int) -> None:
        self._listener, self._number = listener, listener.fileno()
        self._arguments = ["serve", "--framework", framework, "--workers", str(workers)]
        self._arguments += ["--listener", str(self._number), "--parent", str(os.getpid())]
        listener.listen(BACKLOG)
        self._start("--is-prepared")

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "cli.main", *self._arguments, *options]
        # In a group of its own: a terminal that is closed, or Ctrl-C in it, is the parent's to pass on. gunicorn takes
        # SIGHUP for a reload, and a worker that it begins then may miss the SIGTERM that follows.
        self._process = subprocess.Popen(command, pass_fds=[self._number], process_group=0)  # noqa: S603 - our own

    def has_ended(self) -> bool:
        """Whether its process has."""
        return self._process.poll() is not None

    def tell(self) -> None:
        """Tell it to stop, or to hurry."""
        self._process.terminate()

    def stop(self) -> None:
        """Tell it to stop, once, and listen no more."""
        if not self._is_stopped:
            self._is_stopped = True
            self._listener.close()
            self.tell()

    def wait(self) -> int:
        """Its exit code, in the end."""
        return abs(self._process.wait())

    def restart(self) -> None:
        """Serve the code that there is now, when the process that was told to stop has ended."""
        self.wait()
        self._start()
        if self._is_stopped:  # by a signal that came meanwhile
            self.tell()


def serve_doors(listeners: Mapping[str, socket.socket], workers: int, *, reload: bool) -> NoReturn:
    """Serve until a signal comes, or a door has ended: with one gone, a pair is no pair."""
    doors: list[Door] = []
    told: list[bool] = []

    def stop() -> None:
        told.append(True)
        for door in doors:
            door.stop()

    def hurry() -> None:
        for door in doors:
            door.tell()

    on_signals(stop, hurry)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))  # the terminal was closed
    doors += [Door(framework, listener, workers) for framework, listener in listeners.items()]
    files = code()
    while not told and (reload or not any(door.has_ended() for door in doors)):
        time.sleep(_LOOK_SECONDS)
        if reload and (now := code()) != files:
            files = now
            _restart(doors, told)
    for door in doors:  # also one that was begun when the signal had come
        door.stop()
    code_of_exit = max(door.wait() for door in doors)
    ignore_signals()
    sys.exit(code_of_exit)


def _restart(doors: list[Door], told: list[bool]) -> None:
    for door in doors:
        door.tell()
    for door in doors:
        if not told:
            door.restart()


def code() -> Files:
    """The files that the doors are made of, and when each was changed."""
    specs = [spec for name in PACKAGES if (spec := find_spec(name))]
    folders = [Path(folder) for spec in specs for folder in spec.submodule_search_locations or ()]
    files = [path for folder in folders for path in folder.rglob("*.*") if path.suffix != ".pyc"]
    return {path: path.stat().st_mtime for path in files if path.is_file()}
