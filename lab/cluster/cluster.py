"""etcd, two PostgreSQL nodes under Patroni, HAProxy and PgBouncer on this machine: plain processes, and nothing else.

Configured by the files of ``deploy/lab``, as they stand there. What is high about the availability is Patroni's.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from lab.faults.processes import children_of, command_of, lives
from tests.support.postgres import _PR_SET_PDEATHSIG, _usable_by_owner
from tests.support.servers import HOST, ROOT, eventually

FILES = ROOT / "deploy" / "lab"
ETCD_PORT = 17379
WRITE_PORT = 17500
POOLER_PORT = 17600
PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
PROGRAMS = {"etcd": "etcd-server", "patroni": "patroni", "haproxy": "haproxy", "pgbouncer": "pgbouncer"}

START_SECONDS = 60
STOP_SECONDS = 60
MEND_SECONDS = 180  # for a node to come back, with a copy of everything at the worst


@dataclass(frozen=True)
class Node:
    """A PostgreSQL server and the Patroni that minds it."""

    name: str
    port: int
    rest_port: int


NODES = (Node("a", 17432, 17008), Node("b", 17433, 17009))


class LabError(Exception):
    """The lab cannot do as it is told; the text says what to do."""


class Cluster:
    """The processes of the lab, each known by its id, which also stands in a file ``NAME.pid`` of the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._binaries = _postgres_binaries()
        for program, package in PROGRAMS.items():
            if shutil.which(program, path=PATH) is None:
                raise LabError(f"no {program}: apt-get install {package}")
        self.folder.mkdir(mode=0o755, parents=True)
        _, self._identity = _usable_by_owner(self._binaries, self.folder)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._secrets = {name: secrets.token_hex(16) for name in ("SUPERUSER", "REPLICATION", "REWIND")}
        self._password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        """The database as the service reaches it: the primary, wherever it is."""
        return self._url(WRITE_PORT)

    @property
    def pooled_url(self) -> str:
        """The same through PgBouncer."""
        return self._url(POOLER_PORT)

    def start(self) -> None:
        """Start everything, and wait until both nodes have what is written.

        Raises:
            LabError: a port is taken, or something does not start.

        """
        self._copy_files()
        self._require_free_ports()
        self._spawn("etcd", "etcd", "--config-file", "etcd.yml")
        self._wait("etcd", lambda: _is_open(ETCD_PORT))
        for node in NODES:
            self.start_node(node)
        self._spawn("haproxy", "haproxy", "-db", "-f", "haproxy.cfg")
        self._wait("patroni-a", self.is_whole)
        self._wait("haproxy", self._is_served)
        self._make_database()
        self._spawn("pgbouncer", "pgbouncer", "pgbouncer.ini")
        self._wait("pgbouncer", lambda: _is_open(POOLER_PORT))

    def start_node(self, node: Node) -> None:
        """Start a Patroni, which brings its PostgreSQL up as what it ought to be."""
        here = f"{HOST}:{node.port}"
        self._spawn(
            f"patroni-{node.name}",
            "patroni",
            "patroni.yml",
            PATRONI_NAME=node.name,
            PATRONI_RESTAPI_LISTEN=f"{HOST}:{node.rest_port}",
            PATRONI_RESTAPI_CONNECT_ADDRESS=f"{HOST}:{node.rest_port}",
            PATRONI_POSTGRESQL_LISTEN=here,
            PATRONI_POSTGRESQL_CONNECT_ADDRESS=here,
            PATRONI_POSTGRESQL_DATA_DIR=str(self._data(node)),
            PATRONI_POSTGRESQL_BIN_DIR=str(self._binaries),
            PATRONI_POSTGRESQL_PGPASS=str(self.folder / f"pgpass-{node.name}"),
            **{f"PATRONI_{name}_PASSWORD": password for name, password in self._secrets.items()},
        )

    def kill(self, node: Node) -> None:
        """End a node as a power cut would: Patroni and every process of its PostgreSQL, without a word."""
        patroni = self._processes.pop(f"patroni-{node.name}")
        patroni.kill()
        patroni.wait(STOP_SECONDS)
        self.kill_postgres(node)

    def kill_postgres(self, node: Node) -> None:
        """End every process of a PostgreSQL at once."""
        if (postmaster := self._postmaster(node)) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(postmaster, signal.SIGSTOP)  # so that it makes no new ones meanwhile
        processes = [postmaster, *children_of(postmaster)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if not eventually(lambda: not any(map(lives, processes)), STOP_SECONDS):
            raise LabError(f"node {node.name} does not end")

    def stop_receiving(self, node: Node) -> int:
        """Let a standby receive nothing more, and not say so; the id of what was stopped."""
        postmaster = self._postmaster(node)
        receivers = [child for child in children_of(postmaster or 0) if b"walreceiver" in command_of(child)]
        if len(receivers) != 1:
            raise LabError(f"node {node.name} is no standby")
        os.kill(receivers[0], signal.SIGSTOP)
        return receivers[0]

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process of the lab."""
        self._processes[name].send_signal(number)

    def leader(self) -> Node | None:
        """The node that takes writes, as it says itself."""
        return next((node for node in NODES if ask(node, "GET", "/primary")[0] == http.client.OK), None)

    def standby(self) -> Node:
        """The other one."""
        leader = self.leader()
        return next(node for node in NODES if node is not leader)

    def is_whole(self, *, standby: str = "sync_standby") -> bool:
        """Whether there is a leader, and a standby that has what the leader acknowledges."""
        for node in NODES:
            status, known = ask(node, "GET", "/cluster")
            if status == http.client.OK:
                roles = {member["role"] for member in known["members"] if member["state"] in ("running", "streaming")}
                return roles == {"leader", standby}
        return False

    def configure(self, **changes: Any) -> None:
        """Change the configuration that the nodes share."""
        leader = self.leader()
        if leader is None or ask(leader, "PATCH", "/config", changes)[0] != http.client.OK:
            raise LabError("nobody takes the configuration")

    def switch_over(self) -> None:
        """Let the standby take over in good order."""
        leader = self.leader()
        if leader is None or ask(leader, "POST", "/switchover", {"leader": leader.name})[0] != http.client.OK:
            raise LabError("nobody switches over")

    def administer(self, question: sql.SQL | sql.Composed) -> list[tuple[Any, ...]]:
        """Ask the primary as the administrator."""
        with self._administrator() as connection:
            answer = connection.execute(question)
            return answer.fetchall() if answer.description else []

    def rewinds(self) -> int:
        """How often a node had to undo what nobody else had."""
        logs = (self.folder / f"patroni-{node.name}.log" for node in NODES)
        return sum(log.read_text().count("running pg_rewind from dbname") for log in logs)

    def close(self) -> None:
        """End everything in good order, and by force what does not."""
        for name in ("pgbouncer", "haproxy", *(f"patroni-{node.name}" for node in reversed(NODES)), "etcd"):
            process = self._processes.pop(name, None)
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(STOP_SECONDS)
            (self.folder / f"{name}.pid").unlink(missing_ok=True)
        for node in NODES:
            self.kill_postgres(node)  # where Patroni could not

    def _spawn(self, name: str, program: str, *arguments: str, **environment: str) -> None:
        binary = shutil.which(program, path=PATH)
        base = {"PATH": PATH, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(binary), *arguments],
                cwd=self.folder,
                env=base | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end the others in their order
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - nothing else can ask for it
                **self._identity,
            )
        self._processes[name] = process
        (self.folder / f"{name}.pid").write_text(f"{process.pid}\n")

    def _wait(self, name: str, condition: Any) -> None:
        def holds() -> bool:
            if self._processes[name].poll() is not None:
                raise LabError(f"{name} has ended; see {self.folder / name}.log")
            return bool(condition())

        if not eventually(holds, START_SECONDS):
            raise LabError(f"{name} is not ready; see {self.folder / name}.log")

    def _copy_files(self) -> None:
        """The files as they are; only who runs PostgreSQL may read the secrets beside them."""
        for file in FILES.iterdir():
            if file.suffix in (".yml", ".cfg", ".ini"):
                self._give(file.name, file.read_text(), 0o644)
        self._give("userlist.txt", f'"twinauth" "{self._password}"\n', 0o600)

    def _give(self, name: str, text: str, mode: int) -> None:
        path = self.folder / name
        path.touch(mode=mode)
        path.write_text(text)
        if self._identity:
            os.chown(path, self._identity["user"], self._identity["group"])

    def _require_free_ports(self) -> None:
        ports = (ETCD_PORT, WRITE_PORT, POOLER_PORT, *(port for node in NODES for port in (node.port, node.rest_port)))
        if taken := [port for port in ports if _is_open(port)]:
            raise LabError(f"port {taken[0]} is taken; is another lab running?")

    def _make_database(self) -> None:
        password = sql.Literal(self._password)
        self.administer(sql.SQL("CREATE ROLE twinauth LOGIN PASSWORD {}").format(password))
        self.administer(sql.SQL("CREATE DATABASE twinauth OWNER twinauth"))

    def _is_served(self) -> bool:
        try:
            self.administer(sql.SQL("SELECT 1"))
        except psycopg.OperationalError:
            return False
        return True

    def _administrator(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=HOST,
            port=WRITE_PORT,
            user="postgres",
            password=self._secrets["SUPERUSER"],
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _url(self, port: int) -> str:
        return f"postgresql://twinauth:{self._password}@{HOST}:{port}/twinauth"

    def _data(self, node: Node) -> Path:
        return self.folder / f"data-{node.name}"

    def _postmaster(self, node: Node) -> int | None:
        """The id of the main process of a PostgreSQL, if it lives."""
        try:
            process = int((self._data(node) / "postmaster.pid").read_text().splitlines()[0])
        except (FileNotFoundError, IndexError):
            return None
        is_ours = str(self._data(node)).encode() in command_of(process)  # an id is somebody else's one day
        return process if is_ours and lives(process) else None


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster in a new folder, ended at the end."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def ask(node: Node, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
    """What the Patroni of a node answers: status and, where it is one, the JSON; 0 where nobody answers."""
    connection = http.client.HTTPConnection(HOST, node.rest_port, timeout=30 if body else 3)
    try:
        connection.request(method, path, json.dumps(body) if body else None)
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()
    is_json = response.getheader("Content-Type") == "application/json"
    return response.status, json.loads(text) if is_json else None


def _postgres_binaries() -> Path:
    """Of an installed server: the wheel of the tests has no pg_rewind."""
    found: Sequence[Path] = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_rewind"), reverse=True)
    if not found:
        raise LabError("no PostgreSQL with pg_rewind: apt-get install postgresql")
    return found[0].parent


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _end_with_parent() -> None:
    # SIGTERM, on which Patroni stops its PostgreSQL as well.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
