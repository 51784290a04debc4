"""What the servers' own ways would break, and the guard before them mends; each tried at both doors."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.http.edge.limits import MAX_SECONDS
from core.settings.whole import Settings
from lab.faults.processes import family_of
from tests.support.api import PASSWORD
from tests.support.live import Pair
from tests.support.servers import FRAMEWORKS, Server, parsed

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

THREADS = Settings().threads
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODY = b'{"email":"nobody@example.com","password":"not the one at all"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LOGIN = b"POST /v1/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# As Java's HttpClient sends it with each request, unless it is told that there is no HTTP/2.
OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
)


def in_chunks(body: bytes, trailers: bytes = b"") -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers)


def statuses(raw: bytes) -> list[int]:
    return [int(status) for status in STATUS.findall(raw.replace(CONTINUE, b""))]


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\n%s\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n%s\r\n", 200),
        (b"DELETE /v1/sessions HTTP/1.1\r\nHost: a\r\n%s\r\n", 401),
        (b"POST /v1/logout HTTP/1.1\r\nHost: a\r\n%sContent-Length: 0\r\n\r\n", 401),
        (LOGIN + b"%s" + LENGTH + b"\r\n" + BODY, 401),
        (LOGIN + b"%s" + CHUNKED + b"\r\n" + in_chunks(BODY), 401),
        (LOGIN + b"%sExpect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY, 401),
        (LOGIN + b"%sContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
    ],
)
@pytest.mark.parametrize("offer", [OFFER, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_an_offered_upgrade_is_ignored(server: Server, request_of: bytes, status: int, offer: bytes, size: int) -> None:
    """RFC 9110 section 7.8. The connection goes on as it would have without."""
    raw = (request_of % offer) * 2 + LAST
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        for at in range(0, len(raw), size):
            connection.sendall(raw[at : at + size])
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    if status == 413 and "flask" in server.framework:  # where a body was not asked for, the connection ends
        assert statuses(received) == [413]
    else:
        assert statuses(received) == [status, status, 200]


@pytest.mark.parametrize(("target", "status"), [(b"a:443", 400), (b"/healthz", 405), (b"http://a/healthz", 405)])
def test_a_tunnel_is_refused_and_nothing_in_it_is_heard(server: Server, target: bytes, status: int) -> None:
    raw = server.raw(b"CONNECT " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" + LAST)
    assert statuses(raw) == [status]


@pytest.mark.parametrize("where", ["a field", "a target", "a trailer", "a chunk extension", "empty lines"])
def test_what_has_no_end_is_not_kept(server: Server, where: str) -> None:
    """60 MB of it. httptools keeps a field until it is there, and each of its parts as a copy of all before it."""
    begun = {
        "a field": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ",
        "a target": b"GET /healthz?",
        "a trailer": LOGIN + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX: ",
        "a chunk extension": LOGIN + CHUNKED + b"\r\n2;x=",
        "empty lines": b"",
    }[where]
    piece = b"\r\n" * 50_000 if where == "empty lines" else b"x" * 100_000
    before = memory_of(server)
    sent = 0
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(begun)
        for _ in range(600):
            connection.sendall(piece)
            sent += len(piece)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(65536)
        assert received == b"" or statuses(received)[0] in (400, 408, 413, 414, 431)
    assert memory_of(server) - before < 20_000_000


def memory_of(server: Server) -> int:
    """The most that any of its processes has used, in bytes."""
    family = family_of(server.process.popen.pid)
    found = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text()) for process in family]
    return max(int(match[1]) * 1024 for match in found if match)


def test_a_token_behind_the_body_authenticates_nobody(server: Server, email: str) -> None:
    token = server.api.signed_in(email)["access_token"].encode()
    for name in (b"Authorization", b"authorization"):
        ask = b"GET /v1/whoami HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n"
        raw = server.raw(ask + b"0\r\n" + name + b": Bearer " + token + b"\r\n\r\n" + LAST)
        assert statuses(raw) == [401, 200], "and it is none of the next request either"


FRAMINGS = {
    "length and chunks": LENGTH + CHUNKED,
    "chunks and length": CHUNKED + LENGTH,
    "two lengths": LENGTH + b"Content-Length: 0\r\n",
    "the same length twice": LENGTH + LENGTH,
    "a list of lengths": b"Content-Length: %d, %d\r\n" % (len(BODY), len(BODY)),
    "a signed length": b"Content-Length: +%d\r\n" % len(BODY),
    "a length in hexadecimal": b"Content-Length: 0x3e\r\n",
    "another coding": b"Transfer-Encoding: gzip\r\n",
    "another coding, and chunks": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunks, and another coding": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunks twice": CHUNKED + CHUNKED,
    "chunks of chunks": b"Transfer-Encoding: chunked, chunked\r\n",
    "no coding": b"Transfer-Encoding: identity\r\n",
    "a coding that looks like chunks": b"Transfer-Encoding: xchunked\r\n",
    "a vertical tab before it": b"Transfer-Encoding: \x0bchunked\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
    "a bare line feed before it": b"X: a\nTransfer-Encoding: chunked\r\n",
    "a bare carriage return before it": b"X: a\rTransfer-Encoding: chunked\r\n",
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_ends_its_connection(server: Server, name: str) -> None:
    """Whatever stands in front may agree with either reading (RFC 9112 section 11.2)."""
    body = in_chunks(BODY) if b"chunked" in FRAMINGS[name] else BODY
    raw = server.raw(LOGIN + FRAMINGS[name] + b"\r\n" + body + LAST)
    assert statuses(raw) == [400]
    assert b"application/problem+json" in raw


def test_chunks_of_an_old_client_are_refused(server: Server) -> None:
    raw = server.raw(LOGIN.replace(b"HTTP/1.1", b"HTTP/1.0") + CHUNKED + b"\r\n" + in_chunks(BODY))
    assert statuses(raw) == [400]


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Content_Length", "Authorization_"])
def test_a_name_that_wsgi_cannot_tell_from_another_is_left_out(server: Server, name: str) -> None:
    field = name.encode() + b": 1\r\n"
    assert statuses(server.raw(LOGIN + field + LENGTH + b"\r\n" + BODY + LAST)) == [401, 200]


@pytest.mark.parametrize(("head", "status"), [(LOGIN, 401), (LOGIN.replace(b"/v1/login", b"/healthz"), 405)])
def test_nobody_is_told_to_send_what_is_refused_by_its_head(server: Server, head: bytes, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(head + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n")
        first = connection.recv(65536)
        assert first.startswith(CONTINUE) is (status == 401)
        if status == 401:
            connection.sendall(BODY)
            first = connection.recv(65536)
        assert statuses(first) == [status]


# What each kind of slow client sends; it sends or takes nothing more.
SLOW = {
    "silent": b"",
    "half a head": LOGIN + b"X-Slow: ",
    "half a body": LOGIN + b"Content-Length: 16000\r\n\r\n{",
    "half a chunk": LOGIN + CHUNKED + b"\r\n3fff\r\n{",
}


def test_slow_clients_have_ten_seconds_and_never_keep_the_question_whether_the_process_lives(pair: Pair) -> None:
    """As many as a door has threads. A proxy in front hears out more (lab/proxy)."""
    with ThreadPoolExecutor(len(FRAMEWORKS)) as pool:
        for outcome in pool.map(slow_clients_of, (pair[name] for name in FRAMEWORKS)):
            assert outcome == {"silent": {0}, "half a head": {0, 408}, "half a body": {408}, "half a chunk": {408}}


def slow_clients_of(server: Server) -> dict[str, set[int]]:
    """Let them come, and ask meanwhile; what each kind was answered, 0 for nothing."""
    outcome: dict[str, set[int]] = {"half a head": {0, 408}}
    with ExitStack() as stack:
        begun = time.monotonic()
        kinds = list(SLOW) * THREADS
        clients = [(name, stack.enter_context(server.connect())) for name in kinds[: THREADS + THREADS // 3]]
        for name, client in clients:
            client.sendall(SLOW[name])
        while time.monotonic() - begun < MAX_SECONDS / 2:
            asked = time.monotonic()
            assert server.api.get("/healthz").status == 200
            assert time.monotonic() - asked < 1
            time.sleep(0.2)
        for name, client in clients:
            client.settimeout(3 * MAX_SECONDS)
            received = b"".join(iter(lambda client=client: client.recv(65536), b""))  # type: ignore[misc]
            outcome.setdefault(name, set()).add(statuses(received)[0] if received else 0)
        assert time.monotonic() - begun < MAX_SECONDS + 8
    return outcome


def test_a_client_that_does_not_close_holds_up_nobody(server: Server) -> None:
    """gunicorn's loop waits two seconds for each of them, and for nobody else meanwhile."""
    with ExitStack() as stack:
        for request in (LAST, b"junk\r\n\r\n") * 5:
            connection = stack.enter_context(server.connect())
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 ")
            started = time.monotonic()
            assert server.api.get("/healthz").status == 200
            assert time.monotonic() - started < 1


JAVA = """
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;

public class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String address : arguments) {
            var login = HttpRequest.newBuilder(URI.create(address + "/v1/login"))
                .header("Content-Type", "application/json");
            var body = "{\\"email\\":\\"nobody@example.com\\",\\"password\\":\\"not the one at all\\"}";
            var requests = new HttpRequest[] {
                HttpRequest.newBuilder(URI.create(address + "/healthz")).build(),
                login.POST(BodyPublishers.ofString(body)).build(),
                login.POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes()))).build(),
                HttpRequest.newBuilder(URI.create(address + "/v1/logout")).POST(BodyPublishers.noBody()).build(),
                HttpRequest.newBuilder(URI.create(address + "/v1/sessions")).DELETE().build(),
            };
            for (HttpRequest request : requests)
                System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
        }
    }
}
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="needs a JDK; the raw requests above stand for it")
def test_the_client_of_java_works_as_it_comes(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "Client.java").write_text(JAVA)
    addresses = [pair[name].url for name in FRAMEWORKS]
    line = ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "Client.java", *addresses]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=60)
    assert done.stdout.split() == ["200", "401", "401", "401", "401"] * 2, done.stderr


def test_an_answer_that_is_not_taken_holds_its_thread_for_ten_seconds_at_most(pair: Pair) -> None:
    server = pair["flask"]
    asking = b"GET /assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(THREADS):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            connection.connect((server.host, server.port))
            connection.sendall(asking)
        started = time.monotonic()
        assert parsed(server.raw(LOGIN + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY)).status == 401
        assert time.monotonic() - started < MAX_SECONDS + 6
    assert server.api.post("/v1/login", {"email": "nobody@example.com", "password": PASSWORD}).status == 401
